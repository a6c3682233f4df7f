import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

interface Stamping {
  md?: "sha256" | "sha384" | "sha512";
  withCertificate?: boolean;
  named?: "sha1" | "sha256";
}

/** Makes keys, certificates, timestamps and detached CMS signatures in `dir`, as everybody's tool makes them. */
export function createOpenssl(dir: string) {
  const at = (name: string) => join(dir, name);
  const run = (...args: string[]) => execFileSync("openssl", args, { stdio: ["ignore", "pipe", "pipe"] });
  const extensions = at("extensions.cnf");
  writeFileSync(extensions, "basicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash\n");

  /** A certificate of that name, by itself or by another one. */
  function certify(name: string, issuer?: string): void {
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", at(`${name}.key`)];
    const subject = ["-subj", `/CN=${name}`];
    if (issuer === undefined) {
      run("req", "-x509", ...key, ...subject, "-days", "2", "-out", at(`${name}.pem`));
      return;
    }
    run("req", "-new", ...key, ...subject, "-out", at(`${name}.csr`));
    const by = ["-CA", at(`${issuer}.pem`), "-CAkey", at(`${issuer}.key`), "-CAcreateserial"];
    run("x509", "-req", "-in", at(`${name}.csr`), ...by, "-days", "2", "-out", at(`${name}.pem`));
  }

  /** A timestamp authority's certificate of that name; its key makes the timestamps. */
  function certifyStamper(name: string): void {
    const key = ["-newkey", "rsa:2048", "-nodes", "-keyout", at(`${name}.key`)];
    const purpose = [
      "-addext",
      "extendedKeyUsage=critical,timeStamping",
      "-addext",
      "keyUsage=critical,digitalSignature",
    ];
    run("req", "-x509", ...key, "-subj", `/CN=${name}`, "-days", "2", ...purpose, "-out", at(`${name}.pem`));
    writeFileSync(at("serial"), "01\n");
    const lines = ["[tsa]", "default_tsa = it", "[it]", `serial = ${at("serial")}`, "default_policy = 1.2.3.4"];
    const more = ["digests = sha256, sha384, sha512", "signer_digest = sha256", "accuracy = secs:1"];
    for (const algorithm of ["sha1", "sha256"]) {
      const text = [...lines, ...more, `ess_cert_id_alg = ${algorithm}`].join("\n");
      writeFileSync(at(`${name}.${algorithm}.cnf`), `${text}\n`);
    }
  }

  return {
    at,
    run,
    certify,
    certifyStamper,

    /** A timestamp token over `data` in DER; `named` is the digest by which it names its certificate. */
    stamp(
      data: Buffer,
      by: string,
      { md = "sha256", withCertificate = true, named = "sha256" }: Stamping = {},
    ): Buffer {
      writeFileSync(at("stamped"), data);
      run("ts", "-query", "-data", at("stamped"), `-${md}`, ...(withCertificate ? ["-cert"] : []), "-out", at("query"));
      const authority = ["-signer", at(`${by}.pem`), "-inkey", at(`${by}.key`), "-config", at(`${by}.${named}.cnf`)];
      run("ts", "-reply", "-queryfile", at("query"), ...authority, "-token_out", "-out", at("token"));
      return readFileSync(at("token"));
    },

    /** Whether openssl takes a token as one over `data`, of an authority that it trusts. */
    takesStamp(token: Buffer, data: Buffer, authorityPem: string): boolean {
      writeFileSync(at("stamped"), data);
      writeFileSync(at("token"), token);
      const asked = ["-data", at("stamped"), "-in", at("token"), "-token_in", "-CAfile", authorityPem];
      return spawnSync("openssl", ["ts", "-verify", ...asked]).status === 0;
    },

    /** A signature in DER by that signer, with his issuer's certificate where one is named. */
    sign(
      content: Buffer,
      { signer, issuer, md = "sha256", more = [] }: { signer: string; issuer?: string; md?: string; more?: string[] },
    ): Buffer {
      writeFileSync(at("content"), content);
      const with_ = issuer === undefined ? [] : ["-certfile", at(`${issuer}.pem`)];
      const keys = ["-signer", at(`${signer}.pem`), "-inkey", at(`${signer}.key`), ...with_];
      run(
        "cms",
        "-sign",
        "-binary",
        "-in",
        at("content"),
        ...keys,
        "-md",
        md,
        "-outform",
        "DER",
        "-out",
        at("cms"),
        ...more,
      );
      return readFileSync(at("cms"));
    },
  };
}

/** The verdict of openssl on a signature apart over this content. Throws what openssl says when it is not valid. */
export function byOpenssl(p7m: string, content: Buffer, dir: string): string {
  const path = join(dir, "content");
  writeFileSync(path, content);
  const signature = ["-inform", "DER", "-in", p7m, "-content", path, "-binary"];
  execFileSync("openssl", ["cms", "-verify", ...signature, "-noverify", "-out", join(dir, "verified")], {
    stdio: "pipe",
  });
  return readFileSync(join(dir, "verified")).equals(content) ? "valid" : "other content";
}
