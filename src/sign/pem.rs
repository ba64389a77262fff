//! Private keys in PEM: PKCS#8, PKCS#8 under a passphrase (PBES2), and OpenSSL's older SEC1.

use super::Ask;
use crate::error::{Error, Result};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use pkcs8::pkcs5::{pbes2, scrypt};
use pkcs8::{EncryptedPrivateKeyInfo, PrivateKeyInfo, SecretDocument};
use secrecy::{ExposeSecret as _, SecretString};
use std::path::Path;
use zeroize::Zeroizing;

/// Rounds of PBKDF2 that a key file may ask for: some seconds.
const MAX_PBKDF2_ROUNDS: u32 = 5_000_000;
/// Bytes of memory that a key file's scrypt may ask for: 128 · N · r.
const MAX_SCRYPT_BYTES: u64 = 1 << 30;
/// How often a key file's scrypt may go over its memory.
const MAX_SCRYPT_PASSES: u16 = 16;
/// What we write: N = 2^14 and r = 8 take 16 MiB, and OpenSSL reads no more than 32; p makes up for it.
const SCRYPT: (u8, u32, u32) = (14, 8, 5);

/// Text before `-----BEGIN`, and the rest.
pub fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find("-----BEGIN").unwrap_or(0))
}

/// The block of a label, up to its last dash and a line feed.
fn block(text: &str, label: &str) -> Option<Zeroizing<String>> {
    let end = format!("-----END {label}-----");
    let start = text.find(&format!("-----BEGIN {label}-----"))?;
    let length = text[start..].find(&end)? + end.len();
    Some(Zeroizing::new(text[start..start + length].to_owned() + "\n"))
}

/// The private key in the text of the file `path`; a passphrase is asked for where there is one.
pub fn private_key(path: &Path, text: &str, ask: Ask<'_>) -> Result<p256::SecretKey> {
    let wrong = || {
        Error::input(path, "not a P-256 private key in PEM, as PKCS#8 or SEC1")
            .with_hint("make one with `sealwright keygen vendor`, or `openssl genpkey` on curve P-256")
    };
    if let Some(pem) = block(text, "ENCRYPTED PRIVATE KEY") {
        let (_, sealed) = SecretDocument::from_pem(&pem).map_err(|_| wrong())?;
        let plain = decrypt(path, &sealed, ask)?;
        return p256::SecretKey::from_pkcs8_der(plain.as_bytes()).map_err(|_| wrong());
    }
    if let Some(pem) = block(text, "PRIVATE KEY") {
        return p256::SecretKey::from_pkcs8_pem(&pem).map_err(|_| wrong());
    }
    let pem = block(text, "EC PRIVATE KEY").ok_or_else(wrong)?;
    if pem.contains("Proc-Type:") {
        return Err(Error::input(path, "a SEC1 private key under an old kind of passphrase")
            .with_hint("convert it with `openssl pkcs8 -topk8 -in KEY -out NEW`"));
    }
    p256::SecretKey::from_sec1_pem(&pem).map_err(|_| wrong())
}

fn decrypt(path: &Path, sealed: &SecretDocument, ask: Ask<'_>) -> Result<SecretDocument> {
    let unknown = || {
        Error::input(path, "the private key is encrypted in a way that is not read here")
            .with_hint("`openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEY -out NEW` makes it one that is")
    };
    let info = EncryptedPrivateKeyInfo::try_from(sealed.as_bytes()).map_err(|_| unknown())?;
    let parameters = info.encryption_algorithm.pbes2().ok_or_else(unknown)?;
    check_work(path, &parameters.kdf)?;
    let passphrase = ask(&format!("passphrase of {}", path.display()))?;
    info.decrypt(passphrase.expose_secret()).map_err(|_| {
        Error::input(path, "the passphrase does not open this key").with_hint("give the one that it was made with")
    })
}

/// What a file asks of us is bounded before a second is spent on it.
fn check_work(path: &Path, kdf: &pbes2::Kdf<'_>) -> Result<()> {
    let within = match kdf {
        pbes2::Kdf::Pbkdf2(kdf) => kdf.iteration_count <= MAX_PBKDF2_ROUNDS,
        pbes2::Kdf::Scrypt(kdf) => {
            let bytes = kdf.cost_parameter.checked_mul(128 * u64::from(kdf.block_size));
            bytes.is_some_and(|bytes| bytes <= MAX_SCRYPT_BYTES) && kdf.parallelization <= MAX_SCRYPT_PASSES
        }
        _ => false,
    };
    if within {
        return Ok(());
    }
    Err(Error::input(path, "the key's passphrase asks for more work or memory than is allowed here")
        .with_hint("`openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEY -out NEW` makes it a common one"))
}

/// PKCS#8 in PEM, under a passphrase where there is one: scrypt and AES-256-CBC.
pub fn write_private_key(key: &p256::SecretKey, passphrase: Option<&SecretString>) -> Result<Zeroizing<String>> {
    let plain = key.to_pkcs8_der().expect("a P-256 key encodes");
    let Some(passphrase) = passphrase else {
        return Ok(plain.to_pem("PRIVATE KEY", LineEnding::LF).expect("a P-256 key encodes"));
    };
    let mut random = [0; 32];
    crate::data::random(&mut random)?;
    let (salt, iv) = random.split_first_chunk::<16>().expect("32 bytes");
    let iv = iv.try_into().expect("16 bytes");
    let (log_n, r, p) = SCRYPT;
    let cost = scrypt::Params::new(log_n, r, p, scrypt::Params::RECOMMENDED_LEN).expect("our own numbers hold");
    let parameters = pbes2::Parameters::scrypt_aes256cbc(cost, salt, iv).expect("our own numbers hold");
    let info = PrivateKeyInfo::try_from(plain.as_bytes()).expect("encoded above");
    let sealed = info.encrypt_with_params(parameters, passphrase.expose_secret()).expect("AES pads any length");
    Ok(sealed.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).expect("it encodes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use base64::Engine as _;

    /// A vector's key, as OpenSSL wrote it.
    fn vector(name: &str) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/keys");
        std::fs::read_to_string(folder.join(name)).unwrap()
    }

    fn read(text: &str) -> Result<p256::SecretKey> {
        private_key(Path::new("key"), text, &|_| Ok("throw-away".into()))
    }

    #[test]
    fn keys_that_openssl_wrote_are_read() {
        let plain = read(&vector("vendor.pem")).unwrap();
        for name in ["vendor-pbkdf2.pem", "vendor-scrypt.pem", "vendor-sec1.pem"] {
            assert!(read(&vector(name)).unwrap() == plain, "{name}");
        }
        let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        assert!(read(&(parameters.to_owned() + &vector("vendor-sec1.pem"))).unwrap() == plain);
        for wrong in ["", "-----BEGIN PRIVATE KEY-----", &vector("vendor.pub.pem"), &vector("ssh")] {
            assert_eq!(read(wrong).unwrap_err().code, Code::BadInput, "{wrong:.30}");
        }
    }

    #[test]
    fn a_file_cannot_ask_for_work_without_end() {
        let base64 = base64::engine::general_purpose::STANDARD;
        for (name, from, to) in [
            ("vendor-pbkdf2.pem", &[2, 3, 0x01, 0x86, 0xa0][..], &[2, 3, 0x7f, 0xff, 0xff][..]),
            ("vendor-scrypt.pem", &[2, 2, 0x40, 0, 2, 1, 8, 2, 1, 1], &[2, 2, 0x40, 0, 2, 1, 8, 2, 1, 127]),
        ] {
            let text = vector(name);
            let lines: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
            let mut der = base64.decode(lines).unwrap();
            let at = der.windows(from.len()).position(|window| window == from).unwrap();
            der[at..at + to.len()].copy_from_slice(to);
            let pem =
                SecretDocument::try_from(&der[..]).unwrap().to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).unwrap();
            let error = read(&pem).unwrap_err();
            assert!(error.to_string().contains("more work or memory"), "{name}: {error}");
        }
    }

    #[test]
    fn what_is_written_under_a_passphrase_is_read() {
        let key = read(&vector("vendor.pem")).unwrap();
        let pem = write_private_key(&key, Some(&"throw-away".into())).unwrap();
        assert!(read(&pem).unwrap() == key && pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    }
}
