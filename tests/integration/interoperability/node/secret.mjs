// BackstageHub with its secret: code with PKCE, userinfo, the API, refresh, introspection, revocation, sign-out.

import assert from 'node:assert/strict'
import * as oidc from 'openid-client'
import { ask, told } from './asking.mjs'
import { callApi, discover, isActive, refusal, signIn, verify, verifyAccessToken } from './provider.mjs'

const hub = told.applications['com.backstagehub/app']
const config = await discover(hub.client_id, {}, oidc.ClientSecretBasic(hub.client_secret))

const tokens = await signIn(config, hub.redirect_uris[0], 'openid profile offline_access read', { max_age: '3600' })
const said = tokens.claims()
assert.equal(said.aud, hub.client_id)
assert.equal((await verify(config, tokens.id_token, { audience: hub.client_id })).protectedHeader.alg, 'RS256')
assert.equal((await verifyAccessToken(config, tokens.access_token, hub.client_id)).sub, said.sub)

assert.equal((await oidc.fetchUserInfo(config, tokens.access_token, said.sub)).given_name, 'Freddie')
await assert.rejects(oidc.fetchUserInfo(config, tokens.access_token, 'somebody-else'))
assert.equal(await callApi(config, tokens.access_token), 200)

const fresh = await oidc.refreshTokenGrant(config, tokens.refresh_token)
assert.notEqual(fresh.access_token, tokens.access_token)
assert.equal(fresh.claims().sub, said.sub)
assert.equal(fresh.claims().auth_time, said.auth_time)

assert.equal(await isActive(config, fresh.access_token), true)
assert.equal(await isActive(config, fresh.refresh_token), true)
await oidc.tokenRevocation(config, fresh.refresh_token)
assert.equal(await isActive(config, fresh.access_token), false)
assert.equal(await isActive(config, fresh.refresh_token), false)
assert.equal(await refusal(() => oidc.fetchUserInfo(config, fresh.access_token, said.sub)), 'invalid_token')
await assert.rejects(oidc.refreshTokenGrant(config, fresh.refresh_token), { error: 'invalid_grant' })

const afterwards = hub.post_logout_redirect_uris[0]
const end = oidc.buildEndSessionUrl(config, {
  id_token_hint: tokens.id_token,
  post_logout_redirect_uri: afterwards,
  state: 'until-next-time',
})
assert.equal(await ask('visit', [end.href, afterwards]), `${afterwards}?state=until-next-time`)
// Nobody is signed in any more. The library tells what the address said.
await assert.rejects(signIn(config, hub.redirect_uris[0], 'openid', { prompt: 'none' }), { error: 'login_required' })
process.exit()
