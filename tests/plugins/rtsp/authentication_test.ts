import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  ClientAuthentication,
  digestResponse,
  NONCE_LIFETIME_MS,
  parseAuthFields,
  ServerAuthentication,
  type Verdict,
  withCredentials,
} from "../../../plugins/rtsp/authentication.ts";
import { writeRequest } from "../../../plugins/rtsp/message.ts";
import type { Credentials } from "../../../plugins/rtsp/url.ts";

const mufasa = { user: "Mufasa", method: "GET", uri: "/dir/index.html" };
/** The example of RFC 7616 3.9.1. */
const example = {
  ...mufasa,
  password: "Circle of Life",
  realm: "http-auth@example.org",
  nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
  qop: { nc: "00000001", cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ" },
};
const MD5_RESPONSE = "8ca523f5e9506fed4657c9700eebdbec";
const SHA_RESPONSE = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";

Deno.test("digestResponse() is as in RFC 7616 3.9.1", () => {
  assertEquals(digestResponse({ ...example, algorithm: "MD5" }), MD5_RESPONSE);
  assertEquals(digestResponse({ ...example, algorithm: "SHA-256" }), SHA_RESPONSE);
});

Deno.test("digestResponse() is as in RFC 2617 3.5 and RFC 2069 2.4 with its erratum", () => {
  const realm = "testrealm@host.com";
  const nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
  const common = { ...mufasa, algorithm: "MD5" as const, realm, nonce };
  const qop = { nc: "00000001", cnonce: "0a4f113b" };
  assertEquals(
    digestResponse({ ...common, password: "Circle Of Life", qop }),
    "6629fae49393a05397450978507c4ef1",
  );
  assertEquals(
    digestResponse({ ...common, password: "CircleOfLife" }),
    "1949323746fe6a43ef61f9606e7febea",
  );
});

Deno.test("digestResponse() is what two players have sent for a name and password of UTF-8", () => {
  const common = { algorithm: "MD5" as const, user: "us er", password: 'p@ß"w', realm: "m7s" };
  assertEquals(
    digestResponse({
      ...common,
      method: "SETUP",
      uri: "rtsp://127.0.0.1:38339/live/a/trackID=0",
      nonce: "096c7bf70b43068542828997c6a9041e",
    }),
    "801a318c6fe11b61bbdb9f8fd20bded5",
  );
  assertEquals(
    digestResponse({
      ...common,
      method: "PLAY",
      uri: "rtsp://127.0.0.1:35935/live/a/",
      nonce: "b1a80273fb7cbe881d2959c7f44a1d5c",
    }),
    "0443cc5f4834da4ebc5d18fecd9dc0ce",
  );
});

Deno.test("parseAuthFields() reads challenges of one line and of several", () => {
  const fields = parseAuthFields(
    'Digest realm="a, \\"b\\"", nonce="x==", qop="auth,auth-int",algorithm=SHA-256 , ' +
      "Basic realm=c, Negotiate, basic realm = d, NTLM abc==, DIGEST Nonce=1",
  );
  assertEquals(
    fields.map(({ scheme, token, parameters }) => [scheme, token, Object.fromEntries(parameters)]),
    [
      ["digest", "", {
        realm: 'a, "b"',
        nonce: "x==",
        qop: "auth,auth-int",
        algorithm: "SHA-256",
      }],
      ["basic", "", { realm: "c" }],
      ["negotiate", "", {}],
      ["basic", "", { realm: "d" }],
      ["ntlm", "abc==", {}],
      ["digest", "", { nonce: "1" }],
    ],
  );
  assertEquals(parseAuthFields(""), []);
  assertEquals(parseAuthFields("realm=a, b=c"), []);
});

const users = new Map([["alice", "secret"], ["böb", "pä:ß"], ["empty", ""]]);
const url = "rtsp://host/live/a";

/** A server and the clock that it goes by. */
function server(options: { allowBasic?: boolean; users?: Map<string, string> } = {}) {
  const clock = { ms: 1_000 };
  const authentication = new ServerAuthentication({ users, ...options, nowMs: () => clock.ms });
  return { authentication, clock };
}

interface Shown {
  readonly authorization?: string | undefined;
  readonly method?: string;
  readonly url?: string;
}

function verify(authentication: ServerAuthentication, shown: Shown = {}): Verdict {
  const { authorization, method = "DESCRIBE" } = shown;
  const headers = new Map(authorization === undefined ? [] : [["authorization", authorization]]);
  return authentication.verify({ method, url: shown.url ?? url, headers });
}

/** The answer of a client with `credentials` to these challenges. */
function answer(challenges: readonly string[], credentials: Credentials): string {
  const client = new ClientAuthentication(credentials, { cnonce: () => "0a4f113b" });
  assert(client.challenge(challenges.join(", ")));
  const authorization = client.authorize("DESCRIBE", url);
  assert(authorization !== undefined);
  return authorization;
}

Deno.test("ServerAuthentication.challenges() offers SHA-256, then MD5 with the same nonce", () => {
  const { authentication } = server();
  const [sha = "", md5 = "", ...rest] = authentication.challenges();
  const nonce = /nonce="([0-9a-f]{32})"/.exec(sha)?.[1];
  assertEquals(sha, `Digest realm="m7s", nonce="${nonce}", algorithm=SHA-256, qop="auth"`);
  assertEquals(md5, `Digest realm="m7s", nonce="${nonce}", algorithm=MD5`);
  assertEquals(rest, []);
  assertEquals(authentication.challenges(), [sha, md5]);
  assertNotEquals(server().authentication.challenges(), [sha, md5]);
  const [, , basic] = server({ allowBasic: true }).authentication.challenges();
  assertEquals(basic, 'Basic realm="m7s"');
});

for (const [user, password] of users) {
  Deno.test(`ServerAuthentication.verify() accepts ${user} by each challenge`, () => {
    const { authentication } = server({ allowBasic: true });
    const credentials = { user, password };
    const challenges = authentication.challenges();
    assertEquals(challenges.length, 3);
    for (const challenge of challenges) {
      const authorization = answer([challenge], credentials);
      assertEquals(verify(authentication, { authorization }), { accepted: true, credentials });
    }
  });
}

Deno.test("ServerAuthentication.verify() refuses wrong passwords and unknown users", () => {
  const { authentication } = server({ allowBasic: true });
  const wrong = [
    { user: "alice", password: "Secret" },
    { user: "alice", password: "" },
    { user: "mallory", password: "secret" },
    { user: "mallory", password: "" },
    { user: "", password: "" },
  ];
  for (const credentials of wrong) {
    for (const challenge of authentication.challenges()) {
      const verdict = verify(authentication, { authorization: answer([challenge], credentials) });
      assert(!verdict.accepted && verdict.failed, `${credentials.user} ${challenge}`);
      assertEquals(verdict.challenges, authentication.challenges());
    }
  }
});

Deno.test("ServerAuthentication.verify() challenges requests without credentials", () => {
  const { authentication } = server();
  const challenges = authentication.challenges();
  for (
    const authorization of [undefined, "", "Bearer abc", "Basic", "Basic !", ",", "Basic YQ=="]
  ) {
    assertEquals(verify(authentication, { authorization }), {
      accepted: false,
      failed: false,
      challenges,
    });
  }
});

Deno.test("ServerAuthentication.verify() takes no password in the clear unless told to", () => {
  const authorization = `Basic ${btoa("alice:secret")}`;
  assertEquals(verify(server().authentication, { authorization }).accepted, false);
  const allowing = server({ allowBasic: true }).authentication;
  assertEquals(verify(allowing, { authorization }).accepted, true);
});

Deno.test("ServerAuthentication.verify() says that the nonce is stale if only that is wrong", () => {
  const { authentication, clock } = server();
  const credentials = { user: "alice", password: "secret" };
  const [challenge = ""] = authentication.challenges();
  const authorization = answer([challenge], credentials);
  clock.ms += NONCE_LIFETIME_MS;
  assert(verify(authentication, { authorization }).accepted);
  clock.ms += 1;
  const verdict = verify(authentication, { authorization });
  assert(!verdict.accepted && !verdict.failed);
  assert(verdict.challenges.length === 2);
  for (const renewed of verdict.challenges) {
    assert(renewed.endsWith(", stale=true"), renewed);
    assertNotEquals(renewed, `${challenge}, stale=true`);
    assert(verify(authentication, { authorization: answer([renewed], credentials) }).accepted);
  }
  const guess = answer([challenge], { user: "alice", password: "x" });
  const refused = verify(authentication, { authorization: guess });
  assert(!refused.accepted && refused.failed);
  assert(!refused.challenges.join().includes("stale"));
});

Deno.test("ServerAuthentication.verify() takes no nonce of another connection", () => {
  const credentials = { user: "alice", password: "secret" };
  const authorization = answer(server().authentication.challenges(), credentials);
  const { authentication } = server();
  const early = verify(authentication, { authorization });
  assert(!early.accepted && early.challenges.join().includes("stale=true"));
  authentication.challenges();
  assert(!verify(authentication, { authorization }).accepted);
});

Deno.test("ServerAuthentication.challenges() keeps a nonce for half of its life", () => {
  const { authentication, clock } = server();
  const before = authentication.challenges();
  clock.ms += NONCE_LIFETIME_MS / 2;
  assertEquals(authentication.challenges(), before);
  clock.ms += 1;
  assertNotEquals(authentication.challenges(), before);
});

Deno.test("ServerAuthentication.verify() takes the digest over the URL of the stream", () => {
  const { authentication } = server();
  const challenges = authentication.challenges();
  const authorization = answer(challenges, { user: "alice", password: "secret" });
  const shown = (asked: string, method = "DESCRIBE") =>
    verify(authentication, { authorization, url: asked, method }).accepted;
  for (const suffix of ["", "/", "/trackID=1", "?token=1", "/trackID=1?token=1"]) {
    assert(shown(url + suffix), suffix);
  }
  assert(shown("rtsp://10.0.0.1:8554/live/a/trackID=1"));
  for (const other of ["rtsp://host/live/ab", "rtsp://host/live/b", "rtsp://host/live", "*"]) {
    assert(!shown(other), other);
  }
  assert(!shown(url, "SETUP"));
});

Deno.test("ServerAuthentication.verify() takes no digest over nothing for a URL", () => {
  const { authentication } = server();
  const client = new ClientAuthentication({ user: "alice", password: "secret" });
  client.challenge(authentication.challenges().join(", "));
  for (const uri of ["", "/", "rtsp://host"]) {
    const authorization = client.authorize("DESCRIBE", uri);
    assert(!verify(authentication, { authorization }).accepted, uri);
  }
});

Deno.test("ServerAuthentication.verify() refuses digests that lack or change a part", () => {
  const { authentication } = server();
  const [sha = ""] = authentication.challenges();
  const authorization = answer([sha], { user: "alice", password: "secret" });
  assert(verify(authentication, { authorization }).accepted);
  const changes: readonly [RegExp, string][] = [
    [/username="alice"/, 'username="empty"'],
    [/nonce="\w+"/, 'nonce="0"'],
    [/uri="[^"]+"/, 'uri="rtsp://host/live/b"'],
    [/response="./, 'response="x'],
    [/response="\w+", /, ""],
    [/algorithm=SHA-256, /, ""],
    [/algorithm=SHA-256/, "algorithm=MD5"],
    [/algorithm=SHA-256/, "algorithm=SHA-512-256"],
    [/qop=auth/, "qop=auth-int"],
    [/qop=auth, /, ""],
    [/nc=00000001, /, ""],
    [/nc=00000001/, "nc=00000002"],
    [/, cnonce="\w+"/, ""],
  ];
  for (const [pattern, replacement] of changes) {
    const changed = authorization.replace(pattern, replacement);
    assertNotEquals(changed, authorization, `${pattern}`);
    assert(!verify(authentication, { authorization: changed }).accepted, changed);
  }
  // An algorithm that is not known stands for no other one.
  const [, md5 = ""] = authentication.challenges();
  const unknown = answer([md5], { user: "alice", password: "secret" }).replace("MD5", "MD5-sess");
  assert(!verify(authentication, { authorization: unknown }).accepted, unknown);
  const loose = authorization.replace("qop=auth", 'qop="auth"').replace("SHA-256", '"sha-256"')
    .replace(/response="(\w+)"/, (_, response) => `response=${response.toUpperCase()}`);
  assert(verify(authentication, { authorization: loose }).accepted, loose);
});

Deno.test("ServerAuthentication.verify() passes on what is claimed when there are no users", () => {
  const { authentication } = server({ users: new Map() });
  assertEquals(authentication.challenges(), ['Basic realm="m7s"']);
  const credentials = { user: "a", password: "b:ü" };
  const authorization = answer(authentication.challenges(), credentials);
  assertEquals(verify(authentication, { authorization }), { accepted: true, credentials });
  for (
    const other of [undefined, 'Digest username="a"', "Basic YQ==", `Basic ${btoa("\xff:\xff")}`]
  ) {
    assertEquals(verify(authentication, { authorization: other }), {
      accepted: true,
      credentials: undefined,
    });
  }
});

Deno.test("ServerAuthentication.verify() never throws", () => {
  const { authentication } = server({ allowBasic: true });
  const challenges = authentication.challenges();
  const valid = challenges.map((one) => answer([one], { user: "alice", password: "secret" }));
  const damaged = fc.tuple(
    fc.constantFrom(...valid),
    fc.array(fc.tuple(fc.nat(300), fc.constantFrom(...'",= \\a')), { maxLength: 4 }),
  ).map(([text, changes]) => {
    const chars = [...text];
    for (const [index, char] of changes) if (index < chars.length) chars[index] = char;
    return chars.join("");
  });
  fc.assert(
    fc.property(fc.oneof(damaged, fc.string()), (authorization) => {
      verify(authentication, { authorization });
    }),
    { seed: 7_616, numRuns: 2_000 },
  );
});

const exampleChallenge = (algorithm: string) =>
  `Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=${algorithm}, ` +
  `nonce="${example.nonce}", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`;

Deno.test("ClientAuthentication.authorize() gives the answers of RFC 7616 3.9.1", () => {
  for (const [algorithm, response] of [["MD5", MD5_RESPONSE], ["SHA-256", SHA_RESPONSE]] as const) {
    const client = new ClientAuthentication(example, { cnonce: () => example.qop.cnonce });
    assertEquals(client.authorize("GET", mufasa.uri), undefined);
    assert(client.challenge(exampleChallenge(algorithm)));
    assertEquals(
      client.authorize("GET", mufasa.uri),
      'Digest username="Mufasa", realm="http-auth@example.org", ' +
        `nonce="${example.nonce}", uri="/dir/index.html", response="${response}", ` +
        `algorithm=${algorithm}, opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS", ` +
        `qop=auth, nc=00000001, cnonce="${example.qop.cnonce}"`,
    );
    assert(client.authorize("GET", mufasa.uri)?.includes("nc=00000002"));
  }
});

Deno.test("ClientAuthentication.authorize() gives the short answer where no qop is asked for", () => {
  const client = new ClientAuthentication({ user: "Mufasa", password: "CircleOfLife" });
  const nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
  assert(client.challenge(`Digest realm="testrealm@host.com", nonce="${nonce}", qop=""`));
  assertEquals(
    client.authorize("GET", mufasa.uri),
    `Digest username="Mufasa", realm="testrealm@host.com", nonce="${nonce}", ` +
      'uri="/dir/index.html", response="1949323746fe6a43ef61f9606e7febea"',
  );
});

Deno.test("ClientAuthentication.authorize() gives the Basic of RFC 7617 2", () => {
  const client = new ClientAuthentication({ user: "Aladdin", password: "open sesame" });
  assert(client.challenge('Basic realm="WallyWorld"'));
  assertEquals(client.authorize("GET", "/"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
  const other = new ClientAuthentication({ user: "test", password: "123£" });
  assert(other.challenge('Basic realm="foo", charset="UTF-8"'));
  assertEquals(other.authorize("GET", "/"), "Basic dGVzdDoxMjPCow==");
});

Deno.test("ClientAuthentication.challenge() takes the best scheme in any order", () => {
  const basic = 'Basic realm="a"';
  const md5 = 'Digest realm="a", nonce="m"';
  const sha = 'Digest realm="a", nonce="s", algorithm=SHA-256';
  const unknown = 'Digest realm="a", nonce="u", algorithm=SHA-512-256';
  const integrity = 'Digest realm="a", nonce="i", algorithm=SHA-256, qop="auth-int"';
  const cases: readonly [challenges: string[], taken: RegExp | undefined][] = [
    [[basic, md5, sha], /nonce="s"/],
    [[sha, md5, basic], /nonce="s"/],
    [[unknown, integrity, basic, md5], /nonce="m"/],
    [[unknown, basic], /^Basic/],
    [[unknown, integrity, "Bearer"], undefined],
    [[""], undefined],
  ];
  for (const [challenges, taken] of cases) {
    const client = new ClientAuthentication({ user: "a", password: "b" });
    assertEquals(client.challenge(challenges.join(", ")), taken !== undefined);
    const authorization = client.authorize("PLAY", url);
    assertEquals(taken?.test(authorization ?? "") ?? authorization, taken && true);
  }
});

Deno.test("ClientAuthentication.challenge() says whether another try is worth it", () => {
  const client = new ClientAuthentication({ user: "a", password: "b" });
  const digest = (rest: string) => `Digest realm="a", ${rest}, qop="auth"`;
  assert(client.challenge(digest('nonce="1"')));
  client.authorize("PLAY", url);
  assertEquals(client.challenge(digest('nonce="1"')), false);
  assert(client.challenge(digest('nonce="1", stale=TRUE')));
  assert(client.authorize("PLAY", url)?.includes("nc=00000002"));
  assert(client.challenge(digest('nonce="2"')));
  assert(client.authorize("PLAY", url)?.includes("nc=00000001"));
  const basic = new ClientAuthentication({ user: "a", password: "b" });
  assert(basic.challenge('Basic realm="a"'));
  assertEquals(basic.challenge('Basic realm="a"'), false);
});

Deno.test("ClientAuthentication.authorize() can't be made to write a header of its own", () => {
  const client = new ClientAuthentication({ user: 'a"\r\nX: b', password: "b" });
  client.challenge('Digest realm="a", nonce="1"');
  const authorization = client.authorize("PLAY", url);
  assert(authorization?.includes('username="a\\"'));
  assertThrows(
    () => writeRequest({ method: "PLAY", url, cseq: 1, headers: { Authorization: authorization } }),
    TypeError,
    "control character",
  );
});

Deno.test("withCredentials() gives guards the user and password in place of the URL's", () => {
  const credentials = { user: "a&b", password: "ü =" };
  assertEquals(withCredentials("/live/a?x=1&user=root", undefined), "/live/a?x=1&user=root");
  const target = withCredentials("/live/a?token=1&user=root&user=b", credentials);
  const [path, args] = target.split("?");
  assertEquals(path, "/live/a");
  assertEquals([...new URLSearchParams(args)], [
    ["token", "1"],
    ["user", "a&b"],
    ["password", "ü ="],
  ]);
  assertEquals(withCredentials("/live/a", { user: "a", password: "" }), "/live/a?user=a&password=");
});
