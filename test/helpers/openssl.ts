import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Makes keys, certificates and detached CMS signatures in `dir`, as everybody's tool makes them. */
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

  return {
    at,
    run,
    certify,

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
