// An application that registers itself (RFC 7591), signs Freddie in, reads what is registered, and leaves (RFC 7592).

import assert from 'node:assert/strict'
import * as oidc from 'openid-client'
import { told } from './asking.mjs'
import { callApi, insecurely, refusal, signIn } from './provider.mjs'

const redirectUri = 'http://localhost:8498/callback'
const metadata = {
  client_name: 'Registers itself',
  redirect_uris: [redirectUri],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  scope: 'openid offline_access read',
}

async function register(initialAccessToken, more = {}) {
  const options = { execute: insecurely, initialAccessToken }
  const server = new URL(told.issuer)
  return oidc.dynamicClientRegistration(server, { ...metadata, ...more }, oidc.ClientSecretBasic(), options)
}

await assert.rejects(register('made-up'), (error) => {
  assert(error instanceof oidc.WWWAuthenticateChallengeError)
  return error.status === 401 && error.cause[0].parameters.error === 'invalid_token'
})
await assert.rejects(register(told.initialAccessToken, { scope: 'sec' }), (error) => {
  assert(error instanceof oidc.ResponseBodyError)
  return error.status === 400 && error.error === 'invalid_client_metadata'
})

const config = await register(told.initialAccessToken)
const registered = config.clientMetadata()
assert.equal(registered.client_name, 'Registers itself')
assert.deepEqual(registered.redirect_uris, [redirectUri])

const tokens = await signIn(config, redirectUri, 'openid offline_access read')
assert.equal(await callApi(config, tokens.access_token), 200)
assert(await oidc.refreshTokenGrant(config, tokens.refresh_token))

async function manage(method) {
  const address = new URL(registered.registration_client_uri)
  return oidc.fetchProtectedResource(config, registered.registration_access_token, address, method)
}

const read = await (await manage('GET')).json()
assert.equal(read.client_id, registered.client_id)
assert.equal(read.client_secret, undefined)
assert.equal((await manage('DELETE')).status, 204)
await assert.rejects(manage('GET'), (error) => error instanceof oidc.WWWAuthenticateChallengeError)
assert.equal(await refusal(() => callApi(config, tokens.access_token)), 'invalid_token')
process.exit()
