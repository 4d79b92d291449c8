// The practice identity provider: oidc-provider (certified OpenID provider) with Entra-like paths, in memory, loopback only.
//
//   node provider.mjs '{"port": 0, ...}'      settings as in `defaults` below; prints `ready PORT` when it listens
//
// GET  /lab/stats     every request to the token endpoint, in order, without any secret
// GET  /lab/secrets   every code, verifier and token that passed the token endpoint, to search logs for
// POST /lab/settings  changes token life, rotation, device interval, or injects faults: {"faults": [{"path", "status", "headers", "body", "times"}]}

import { X509Certificate, createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';

// oidc-provider asks for Node 22; Node 20 does, and 18 lacks only this.
globalThis.crypto ??= (await import('node:crypto')).webcrypto;
const { Provider } = await import('oidc-provider');

const defaults = {
  port: 0,
  accessTokenSeconds: 3600,
  refreshTokenSeconds: 86400,
  rotateRefreshToken: true,
  deviceIntervalSeconds: 1,
  appClient: { id: 'lab-app', secret: 'lab-app-secret' },
  publicClient: { id: 'lab-public' },
  certificateClient: { id: 'lab-certificate', certificates: [] }, // PEM files
  introspectionClient: { id: 'lab-dovecot', secret: 'lab-dovecot-secret' },
  faults: [],
};
const settings = { ...defaults, ...JSON.parse(process.argv[2] ?? '{}') };
const tokenRequests = [];
const secrets = {};

const paths = {
  authorization: '/common/oauth2/v2.0/authorize',
  token: '/common/oauth2/v2.0/token',
  device_authorization: '/common/oauth2/v2.0/devicecode',
  code_verification: '/common/oauth2/deviceauth',
  revocation: '/common/oauth2/v2.0/revoke',
  introspection: '/common/oauth2/v2.0/introspect',
  jwks: '/common/discovery/v2.0/keys',
  userinfo: '/oidc/userinfo',
};

const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code';

// A certificate as Entra keeps it: found by its thumbprint (RFC 7517 §4.7, §4.9).
function registered(file) {
  const { publicKey, raw } = new X509Certificate(readFileSync(file));
  const thumbprint = createHash('sha256').update(raw).digest('base64url');
  return { ...publicKey.export({ format: 'jwk' }), use: 'sig', alg: 'PS256', x5c: [raw.toString('base64')], 'x5t#S256': thumbprint };
}

function configuration() {
  return {
    clients: [
      {
        client_id: settings.appClient.id,
        client_secret: settings.appClient.secret,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        token_endpoint_auth_method: 'client_secret_post',
      },
      ...(settings.certificateClient.certificates.length ? [{
        client_id: settings.certificateClient.id,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        token_endpoint_auth_method: 'private_key_jwt',
        token_endpoint_auth_signing_alg: 'PS256',
        jwks: { keys: settings.certificateClient.certificates.map(registered) },
      }] : []),
      {
        client_id: settings.publicClient.id,
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: ['authorization_code', 'refresh_token', deviceGrant],
        response_types: ['code'],
        // Any port is accepted on loopback for a native client; the path counts.
        redirect_uris: ['localhost', '127.0.0.1'].flatMap((host) => [
          `http://${host}`, `http://${host}/`, `http://${host}/callback`,
        ]),
      },
      {
        client_id: settings.introspectionClient.id,
        client_secret: settings.introspectionClient.secret,
        grant_types: [],
        redirect_uris: [],
        response_types: [],
        token_endpoint_auth_method: 'client_secret_basic',
      },
    ],
    routes: paths,
    scopes: ['openid', 'offline_access', 'email', 'profile', 'mail'],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username'] },
    conformIdTokenClaims: false, // the identity stands in the id_token itself, as at the big providers
    pkce: { required: (ctx, client) => client.clientId === settings.publicClient.id },
    rotateRefreshToken: () => settings.rotateRefreshToken,
    ttl: {
      AccessToken: () => settings.accessTokenSeconds,
      ClientCredentials: () => settings.accessTokenSeconds,
      RefreshToken: () => settings.refreshTokenSeconds,
      AuthorizationCode: 60,
      DeviceCode: 300,
      IdToken: 3600,
      Interaction: 600,
      Session: 3600,
      Grant: 86400,
    },
    features: {
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      devInteractions: { enabled: true },
      introspection: { enabled: true, allowedPolicy: (ctx, client) => client.clientId === settings.introspectionClient.id },
      revocation: { enabled: true },
      resourceIndicators: { enabled: false },
      rpInitiatedLogout: { enabled: false },
    },
    cookies: { keys: ['practice only'] },
    async findAccount(ctx, id) {
      return {
        accountId: id,
        claims: () => ({ sub: id, email: id, email_verified: true, preferred_username: id, name: id }),
      };
    },
    // Dovecot reads these out of the introspection answer; a missing idtyp would pass for any value.
    extraTokenClaims(ctx, token) {
      return token.kind === 'ClientCredentials' ? { username: 'app', idtyp: 'app' } : { username: token.accountId, idtyp: 'user' };
    },
  };
}

function takeFault(path) {
  const fault = settings.faults.find((each) => each.path === path && (each.times ?? 1) > 0);
  if (fault) fault.times = (fault.times ?? 1) - 1;
  return fault;
}

async function observe(ctx, next) {
  if (ctx.path === paths.authorization) {
    // Entra gives a refresh token for the scope alone; this provider wants the prompt as well.
    const query = new URLSearchParams(ctx.querystring);
    if (query.get('scope')?.split(' ').includes('offline_access') && !query.has('prompt')) {
      query.set('prompt', 'consent');
      ctx.querystring = query.toString();
    }
  }

  const fault = takeFault(ctx.path);
  if (fault) {
    ctx.status = fault.status ?? 503;
    ctx.set(fault.headers ?? {});
    ctx.body = fault.body ?? '';
  } else {
    await next();
  }

  if (ctx.path === paths.token) {
    const params = ctx.oidc?.params ?? {};
    tokenRequests.push({
      grant: params.grant_type ?? null,
      client: ctx.oidc?.entities?.Client?.clientId ?? null,
      account: ctx.oidc?.entities?.Account?.accountId ?? null,
      status: ctx.status,
      error: ctx.body?.error ?? null,
      rotations: ctx.oidc?.entities?.RefreshToken?.rotations ?? 0,
      refreshTokenGiven: Boolean(ctx.body?.refresh_token),
      thumbprint: thumbprintOf(params.client_assertion),
    });
    const given = { ...params, ...(typeof ctx.body === 'object' ? ctx.body : {}) };
    for (const name of ['client_secret', 'client_assertion', 'code', 'code_verifier', 'device_code', 'access_token', 'refresh_token', 'id_token']) {
      if (given[name]) secrets[given[name]] = name;
      if (params[name]) secrets[params[name]] = name; // the old refresh token, beside the new one
    }
  } else if (ctx.path === paths.device_authorization && ctx.body?.device_code) {
    ctx.body = { ...ctx.body, interval: settings.deviceIntervalSeconds };
  } else if (ctx.path === paths.introspection && ctx.body?.active === false) {
    // Without a user name Dovecot reports a temporary failure instead of a refusal.
    ctx.body = { ...ctx.body, username: '-', idtyp: 'none' };
  }
}

function thumbprintOf(assertion) {
  if (!assertion) return null;
  return JSON.parse(Buffer.from(assertion.split('.')[0], 'base64url'))['x5t#S256'] ?? null;
}

function read(request) {
  return new Promise((resolve, reject) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => resolve(Buffer.concat(parts).toString()));
    request.on('error', reject);
  });
}

async function control(request, response) {
  response.setHeader('content-type', 'application/json');
  if (request.url === '/lab/stats') {
    response.end(JSON.stringify({ tokenRequests }));
  } else if (request.url === '/lab/secrets') {
    response.end(JSON.stringify(secrets));
  } else if (request.url === '/lab/settings' && request.method === 'POST') {
    Object.assign(settings, JSON.parse(await read(request)));
    response.end('{}');
  } else {
    response.statusCode = 404;
    response.end('{}');
  }
}

const server = http.createServer();
server.listen(settings.port, '127.0.0.1', () => {
  const { port } = server.address();
  const provider = new Provider(`http://127.0.0.1:${port}`, configuration());
  provider.use(observe);
  provider.on('server_error', (ctx, error) => console.error(error));
  const serve = provider.callback();
  server.on('request', (request, response) => {
    if (request.url.startsWith('/lab/')) control(request, response).catch((error) => response.destroy(error));
    else serve(request, response);
  });
  console.log(`ready ${port}`);
});

for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
