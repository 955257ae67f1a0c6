// The provider, as openid-client finds it, and what every application does with it.

import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'
import * as oidc from 'openid-client'
import * as jose from 'jose'
import { ask, told } from './asking.mjs'

/** What makes the library talk with an issuer that is reached by http. */
export const insecurely = told.issuer.startsWith('http:') ? [oidc.allowInsecureRequests] : []

/** An application that knows the issuer, and how it authenticates itself. */
export async function discover(clientId, metadata, authentication) {
  const execute = insecurely
  const config = await oidc.discovery(new URL(told.issuer), clientId, metadata, authentication, { execute })
  // Else the library takes the connection's word for ID tokens and userinfo.
  oidc.enableNonRepudiationChecks(config)
  return config
}

/** Freddie signs in; `push`: the request is pushed first (RFC 9126); `sign`: signed with this key (RFC 9101).
    `options`: of the request for tokens, and of the push. */
export async function signIn(config, redirectUri, scope, { push = false, sign = null, ...more } = {}, options = undefined) {
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier()
  const expectedState = oidc.randomState()
  const expectedNonce = oidc.randomNonce()
  let parameters = {
    redirect_uri: redirectUri,
    scope,
    state: expectedState,
    nonce: expectedNonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    ...more,
  }
  if (sign) {
    const { searchParams } = await oidc.buildAuthorizationUrlWithJAR(config, parameters, sign)
    parameters = { client_id: searchParams.get('client_id'), request: searchParams.get('request') }
  }
  const address = push
    ? await oidc.buildAuthorizationUrlWithPAR(config, parameters, options)
    : oidc.buildAuthorizationUrl(config, parameters)
  if (push) assert.deepEqual([...address.searchParams.keys()].sort(), ['client_id', 'request_uri'])
  const back = new URL(await ask('visit', [address.href, redirectUri]))
  const checks = { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true }
  return oidc.authorizationCodeGrant(config, back, checks, undefined, options)
}

let keys

/** A token of the issuer's, by jose: its signature, and what `options` say of its claims. */
export async function verify(config, token, options) {
  keys ??= jose.createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri))
  return jose.jwtVerify(token, keys, { issuer: told.issuer, ...options })
}

/** An access token for the API (RFC 9068 section 4). */
export async function verifyAccessToken(config, token, clientId) {
  const requiredClaims = ['sub', 'jti', 'iat', 'exp', 'client_id']
  const options = { audience: told.api, typ: 'at+jwt', algorithms: ['ES256'], requiredClaims }
  const { payload } = await verify(config, token, options)
  assert.equal(payload.client_id, clientId)
  return payload
}

/** What the API says to a token. */
export async function callApi(config, token) {
  const answer = await oidc.fetchProtectedResource(config, token, new URL(`${told.api}/tours`), 'GET')
  return answer.status
}

/** How a token that was taken back is refused: who accepts it hears of that a moment after it was done. */
export async function refusal(use, patience = 30_000) {
  const deadline = Date.now() + patience
  for (;;) {
    try {
      await use()
    } catch (error) {
      assert(error instanceof oidc.WWWAuthenticateChallengeError, error)
      return error.cause[0].parameters.error
    }
    assert(Date.now() < deadline, 'a token that was taken back is accepted still')
    await setTimeout(20)
  }
}

/** Whether a token is active (RFC 7662). */
export async function isActive(config, token) {
  return (await oidc.tokenIntrospection(config, token)).active
}
