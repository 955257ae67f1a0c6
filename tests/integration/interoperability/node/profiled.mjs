// An application that is held to the FAPI 2.0 Security Profile: pushed requests, private_key_jwt and DPoP for everything.

import assert from 'node:assert/strict'
import * as oidc from 'openid-client'
import * as jose from 'jose'
import { ask, told } from './asking.mjs'
import { discover, isActive, signIn, verify, verifyAccessToken } from './provider.mjs'

const tours = new URL(`${told.api}/tours`)
const scope = 'openid profile offline_access read'

for (const algorithm of ['PS256', 'ES256']) {
  const pair = await jose.generateKeyPair(algorithm, { extractable: true })
  const jwks = { keys: [{ ...(await jose.exportJWK(pair.publicKey)), kid: 'one', alg: algorithm, use: 'sig' }] }
  const { client_id: clientId, redirect_uris: redirectUris } = await ask('register', jwks)
  const key = { key: pair.privateKey, kid: 'one' }
  const config = await discover(clientId, { id_token_signed_response_alg: 'ES256' }, oidc.PrivateKeyJwt(key))
  assert.equal(config.serverMetadata().authorization_response_iss_parameter_supported, true)
  const DPoP = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair(algorithm))
  const jkt = await DPoP.calculateThumbprint()

  // Weaker ways are closed.
  await assert.rejects(signIn(config, redirectUris[0], scope), { error: 'invalid_request' })
  const toEndpoint = { [oidc.modifyAssertion]: (_, payload) => { payload.aud = config.serverMetadata().token_endpoint } }
  const otherwise = await discover(clientId, {}, oidc.PrivateKeyJwt(key, toEndpoint))
  await assert.rejects(oidc.clientCredentialsGrant(otherwise, { scope: 'read' }, { DPoP }), { status: 401 })
  await assert.rejects(oidc.clientCredentialsGrant(config, { scope: 'read' }), { error: 'invalid_request' })

  // The library checks `iss`, `state`, nonce and the signature of the ID token.
  const tokens = await signIn(config, redirectUris[0], scope, { push: true }, { DPoP })
  assert.equal(tokens.token_type, 'dpop')
  const idToken = await verify(config, tokens.id_token, { audience: clientId, typ: 'JWT' })
  assert.equal(idToken.protectedHeader.alg, 'ES256')
  assert.equal((await verifyAccessToken(config, tokens.access_token, clientId)).cnf.jkt, jkt)

  // One refresh token for all the time; the tokens of before stay.
  const all = [tokens.access_token]
  for (let turn = 0; turn < 2; turn++) {
    const fresh = await oidc.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP })
    assert.equal(fresh.refresh_token, undefined)
    all.push(fresh.access_token)
  }
  assert.equal(new Set(all).size, all.length)
  for (const token of all) {
    const answer = await oidc.fetchProtectedResource(config, token, tours, 'GET', undefined, undefined, { DPoP })
    assert.equal(answer.status, 200)
  }
  const person = await oidc.fetchUserInfo(config, all.at(-1), tokens.claims().sub, { DPoP })
  assert.equal(person.given_name, 'Freddie')

  await oidc.tokenRevocation(config, tokens.refresh_token)
  await assert.rejects(oidc.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP }), { error: 'invalid_grant' })
  assert.equal(await isActive(config, all.at(-1)), false)
}
process.exit()
