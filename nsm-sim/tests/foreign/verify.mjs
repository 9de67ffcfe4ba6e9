// npm's @0xsequence/tee-verifier on one document.
//
// Arguments: document, root (PEM), time (Unix milliseconds). Exits with 0 if it
// accepts, 1 if it refuses. It knows its root by fingerprint and, written for
// browsers, looks for `window`.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

globalThis.window = globalThis;
const { SignedAttestation } = await import('@0xsequence/tee-verifier');

const [document, root, atMs] = process.argv.slice(2);
const pem = readFileSync(root, 'utf8').match(/-----BEGIN CERTIFICATE-----([^-]+)-----/)[1];
const fingerprint = createHash('sha256').update(Buffer.from(pem, 'base64')).digest('hex');

let refused;
try {
  const attestation = SignedAttestation.fromDocument(readFileSync(document).toString('base64'));
  if (!(await attestation.verifyRootOfTrust(new Date(Number(atMs))))) refused = 'chain';
  else if ((await attestation.rootCertFingerprint()) !== fingerprint) refused = 'root';
  else if (!(await attestation.verifySignature())) refused = 'signature';
  else console.log(attestation.pcrs.get(0));
} catch (error) {
  refused = String(error);
}
if (refused) console.log(refused);
process.exit(refused ? 1 : 0);
