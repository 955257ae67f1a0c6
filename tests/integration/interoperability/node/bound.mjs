// Applications whose tokens are bound to a key of theirs (DPoP, RFC 9449).

import assert from 'node:assert/strict'
import * as oidc from 'openid-client'
import { told } from './asking.mjs'
import { discover, signIn, verifyAccessToken } from './provider.mjs'

const tours = new URL(`${told.api}/tours`)

async function callApi(config, token, DPoP) {
  const answer = await oidc.fetchProtectedResource(config, token, tours, 'GET', undefined, undefined, { DPoP })
  return answer.status
}

/** The challenge that the API refuses a token with. */
async function refusal(promise) {
  let challenges
  await assert.rejects(promise, (error) => {
    assert(error instanceof oidc.WWWAuthenticateChallengeError)
    challenges = Object.fromEntries(error.cause.map(({ scheme, parameters }) => [scheme, parameters]))
    return error.status === 401
  })
  return challenges
}

for (const algorithm of ['ES256', 'RS256', 'PS256']) {
  const service = told.applications['com.merchsync/service']
  const config = await discover(service.client_id, {}, oidc.ClientSecretBasic(service.client_secret))
  const DPoP = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair(algorithm))
  const own = await oidc.clientCredentialsGrant(config, { scope: 'read', resource: told.api }, { DPoP })
  assert.equal(own.token_type, 'dpop')
  const { cnf } = await verifyAccessToken(config, own.access_token, service.client_id)
  assert.equal(cnf.jkt, await DPoP.calculateThumbprint())
  assert.equal(await callApi(config, own.access_token, DPoP), 200)

  const bearer = await refusal(callApi(config, own.access_token))
  assert.equal(bearer.bearer.error, 'invalid_token')
  assert.match(bearer.dpop.algs, /ES256/)
  const other = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair(algorithm))
  assert.equal((await refusal(callApi(config, own.access_token, other))).dpop.error, 'invalid_token')
}

const spa = told.applications['com.roadie/spa']
const config = await discover(spa.client_id, {}, oidc.None())
const DPoP = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair())
const dpop_jkt = await DPoP.calculateThumbprint()
const scope = 'openid offline_access profile read'
for (const options of [{ dpop_jkt }, { push: true, dpop_jkt }, {}]) {
  const tokens = await signIn(config, spa.redirect_uris[0], scope, options, { DPoP })
  assert.equal(tokens.token_type, 'dpop')
  assert.equal(await callApi(config, tokens.access_token, DPoP), 200)
  const person = await oidc.fetchUserInfo(config, tokens.access_token, tokens.claims().sub, { DPoP })
  assert.equal(person.sub, tokens.claims().sub)

  const other = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair())
  for (const wrong of [undefined, { DPoP: other }]) {
    await assert.rejects(oidc.refreshTokenGrant(config, tokens.refresh_token, undefined, wrong), { error: 'invalid_grant' })
  }
  const fresh = await oidc.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP })
  assert.equal(await callApi(config, fresh.access_token, DPoP), 200)
}
process.exit()
