// oidc-provider as it comes, in production mode, everything in memory: client credentials with signed access tokens.
//
//     node server.mjs PORT CLIENT_ID SECRET AUDIENCE SCOPE

import { generateKeyPairSync } from "node:crypto";
import Provider from "oidc-provider";

const [port, clientId, secret, audience, scope] = process.argv.slice(2);

function key(kind, options, alg) {
  const jwk = generateKeyPairSync(kind, options).privateKey.export({ format: "jwk" });
  return { ...jwk, alg, kid: alg, use: "sig" };
}

const provider = new Provider(`http://127.0.0.1:${port}`, {
  // It asks for a key for RS256, with which nothing is signed here.
  jwks: { keys: [key("ec", { namedCurve: "P-256" }, "ES256"), key("rsa", { modulusLength: 2048 }, "RS256")] },
  clients: [
    {
      client_id: clientId,
      client_secret: secret,
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: "client_secret_basic",
    },
  ],
  scopes: [scope],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      getResourceServerInfo: () => ({
        scope,
        audience,
        accessTokenTTL: 3600,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "ES256" } },
      }),
      useGrantedResource: () => true,
    },
  },
});

provider.on("server_error", (_, error) => console.error(error));
provider.listen(Number(port), "127.0.0.1");
