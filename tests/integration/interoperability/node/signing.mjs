// An application that signs, takes ES256 for everything, pushes its requests, and is told of logouts.

import assert from 'node:assert/strict'
import * as oidc from 'openid-client'
import * as jose from 'jose'
import { ask } from './asking.mjs'
import { callApi, discover, isActive, signIn, verify, verifyAccessToken } from './provider.mjs'

const pair = await jose.generateKeyPair('ES256')
const jwks = { keys: [{ ...(await jose.exportJWK(pair.publicKey)), kid: 'one', alg: 'ES256', use: 'sig' }] }
const { client_id: clientId, redirect_uris: redirectUris } = await ask('register', jwks)
const metadata = { id_token_signed_response_alg: 'ES256', userinfo_signed_response_alg: 'ES256' }
const authentication = oidc.PrivateKeyJwt({ key: pair.privateKey, kid: 'one' })
const config = await discover(clientId, metadata, authentication)

// It has to push.
await assert.rejects(signIn(config, redirectUris[0], 'openid'), { error: 'invalid_request' })
const signed = await signIn(config, redirectUris[0], 'openid', { push: true, sign: { key: pair.privateKey, kid: 'one' } })
assert.equal(signed.claims().aud, clientId)
const tokens = await signIn(config, redirectUris[0], 'openid profile offline_access read', { push: true })
const said = tokens.claims()
const idToken = await verify(config, tokens.id_token, { audience: clientId, typ: 'JWT' })
assert.equal(idToken.protectedHeader.alg, 'ES256')
const accessToken = await verify(config, tokens.access_token)
assert.equal(accessToken.protectedHeader.alg, 'ES256')
assert.notEqual(accessToken.protectedHeader.kid, idToken.protectedHeader.kid)
await verifyAccessToken(config, tokens.access_token, clientId)

// Signed with ES256, which the library checks.
assert.equal((await oidc.fetchUserInfo(config, tokens.access_token, said.sub)).given_name, 'Freddie')
const fresh = await oidc.refreshTokenGrant(config, tokens.refresh_token)
assert.equal(fresh.claims().sub, said.sub)
assert.equal(await callApi(config, fresh.access_token), 200)
assert.equal(await isActive(config, fresh.access_token), true)

const own = await oidc.clientCredentialsGrant(config, { scope: 'read' })
assert.equal(own.refresh_token, undefined)
assert.equal((await verifyAccessToken(config, own.access_token, clientId)).sub, clientId)
await oidc.tokenRevocation(config, own.access_token)
assert.equal(await isActive(config, own.access_token), false)

// The library does not know logout tokens; jose checks what Back-Channel Logout 1.0 section 2.6 asks for.
await ask('visit', [oidc.buildEndSessionUrl(config, { id_token_hint: tokens.id_token }).href, ''])
const requiredClaims = ['iat', 'exp', 'jti', 'sub', 'sid', 'events']
const options = { audience: clientId, typ: 'logout+jwt', algorithms: ['ES256'], requiredClaims }
const logout = (await verify(config, await ask('logout', null), options)).payload
assert.deepEqual([logout.sub, logout.sid], [said.sub, said.sid])
assert.deepEqual(logout.events, { 'http://schemas.openid.net/event/backchannel-logout': {} })
assert.equal('nonce' in logout, false)
assert.equal(await isActive(config, fresh.access_token), false)
process.exit()
