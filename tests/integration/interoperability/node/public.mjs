// Applications without a person, and without a secret: a service, and one in a browser that pushes its request.

import assert from 'node:assert/strict'
import * as oidc from 'openid-client'
import { told } from './asking.mjs'
import { callApi, discover, signIn, verifyAccessToken } from './provider.mjs'

const service = told.applications['com.merchsync/service']
const background = await discover(service.client_id, {}, oidc.ClientSecretBasic(service.client_secret))
const own = await oidc.clientCredentialsGrant(background, { scope: 'read', resource: told.api })
assert.equal(own.scope, 'read')
await verifyAccessToken(background, own.access_token, service.client_id)
assert.equal(await callApi(background, own.access_token), 200)
await assert.rejects(oidc.clientCredentialsGrant(background, { scope: 'update' }), (error) => {
  assert(error instanceof oidc.ResponseBodyError)
  return error.status === 400 && error.error === 'invalid_scope'
})
const wrong = await discover(service.client_id, {}, oidc.ClientSecretBasic('made-up'))
await assert.rejects(oidc.clientCredentialsGrant(wrong), (error) => {
  assert(error instanceof oidc.WWWAuthenticateChallengeError)
  return error.status === 401 && error.cause[0].scheme === 'basic'
})

const spa = told.applications['com.roadie/spa']
const config = await discover(spa.client_id, {}, oidc.None())
const tokens = await signIn(config, spa.redirect_uris[0], 'openid offline_access read', { push: true })
assert.equal(await callApi(config, tokens.access_token), 200)
const fresh = await oidc.refreshTokenGrant(config, tokens.refresh_token)
await oidc.tokenRevocation(config, fresh.refresh_token)
await assert.rejects(oidc.refreshTokenGrant(config, fresh.refresh_token), { error: 'invalid_grant' })
process.exit()
