//! A secret key in a file, encrypted under a passphrase: PKCS#8 with PBES2 (RFC 8018), scrypt and AES-256-CBC, in PEM,
//! which `openssl pkey` reads as well. In front of it stands the verifier key, which is no secret and says what the key
//! is called; what is decrypted must be that key.

use crate::{
    error::{Error, Result},
    note::{Signer, Verifiers},
};
use pkcs8::{
    EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument,
    der::pem::PemLabel,
    pkcs5::{pbes2::Parameters, scrypt::Params},
};
use zeroize::Zeroizing;

/// An Ed25519 key in PKCS#8 (RFC 8410 §7), up to its 32 bytes.
const ED25519: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// The shortest passphrase that is taken for a new file, in bytes.
const SHORTEST: usize = 12;
/// What an encrypted file holds.
const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// Random bytes of one encryption: never used twice.
#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    /// For the derivation of the key.
    pub salt: [u8; 16],
    /// For the cipher.
    pub iv: [u8; 16],
}

/// Whether a text is an encrypted key.
pub fn is_encrypted(text: &str) -> bool {
    text.contains(BEGIN)
}

/// The key of a file's text, `PRIVATE+KEY+…` or encrypted under `passphrase`.
pub fn read(text: &str, passphrase: Option<&str>) -> Result<Signer> {
    match (is_encrypted(text), passphrase) {
        (true, Some(passphrase)) => decrypt(text, passphrase),
        (true, None) => Err(Error::config("the key is encrypted, and no passphrase was given")),
        (false, None) => Signer::parse(text),
        (false, Some(_)) => Err(Error::config(
            "a passphrase was given, and the key is not encrypted: `authseal keys encrypt` makes an encrypted copy",
        )),
    }
}

/// The text of the encrypted file of a key.
pub fn encrypt(signer: &Signer, passphrase: &str, fresh: Fresh) -> Result<Zeroizing<String>> {
    if passphrase.len() < SHORTEST {
        return Err(Error::config(format!("the passphrase has less than {SHORTEST} bytes: choose a longer one")));
    }
    let cannot = |e: &dyn std::fmt::Display| Error::bug(format!("the key cannot be encrypted: {e}"));
    let mut der = Zeroizing::new([0; 48]);
    let (head, seed) = der.split_at_mut(ED25519.len());
    head.copy_from_slice(&ED25519);
    seed.copy_from_slice(&*signer.seed());
    // 16 MiB and five passes: what OWASP asks of scrypt, within the bounds of what OpenSSL reads
    let params = Params::new(14, 8, 5).map_err(|e| cannot(&e))?;
    let params = Parameters::generate_scrypt_aes256cbc(params, &fresh.salt, fresh.iv).map_err(|e| cannot(&e))?;
    let info = PrivateKeyInfoRef::try_from(&der[..]).map_err(|e| cannot(&e))?;
    let encrypted = info.encrypt_with_params(params, passphrase).map_err(|e| cannot(&e))?;
    let pem = encrypted.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).map_err(|e| cannot(&e))?;
    Ok(Zeroizing::new(format!("{}\n{}", signer.verifier_key(), &*pem)))
}

fn decrypt(text: &str, passphrase: &str) -> Result<Signer> {
    let wrong = |what: &str| Error::config(format!("the encrypted key cannot be read: {what}"));
    let at = text.find(BEGIN).ok_or_else(|| wrong("it has no PEM block"))?;
    let (vkey, pem) = text.split_at(at);
    let keys = Verifiers::parse(vkey).map_err(|e| wrong(&e.to_string()))?;
    let name = match keys.iter().next() {
        Some((name, _)) if keys.iter().len() == 1 => name,
        _ => {
            return Err(wrong("one verifier key must stand in front of the PEM block: it says what the key is called"));
        }
    };
    let (_, document) = SecretDocument::from_pem(pem.trim_end()).map_err(|e| wrong(&e.to_string()))?;
    let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|e| wrong(&e.to_string()))?;
    let der = info.decrypt(passphrase).map_err(|_| wrong("the passphrase is another one, or the file was changed"))?;
    let seed = der.as_bytes().strip_prefix(&ED25519[..]).and_then(|seed| <[u8; 32]>::try_from(seed).ok());
    let seed = Zeroizing::new(seed.ok_or_else(|| wrong("it holds something else than an Ed25519 key"))?);
    let signer = Signer::from_seed(name, *seed)?;
    match keys.text().trim_end() == signer.verifier_key() {
        true => Ok(signer),
        false => Err(wrong("it holds another key than the verifier key in front of it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSPHRASE: &str = "correct horse battery staple";

    fn signer() -> Signer {
        Signer::from_seed("example.com/auth/seal", [7; 32]).unwrap()
    }

    fn encrypted() -> String {
        encrypt(&signer(), PASSPHRASE, Fresh { salt: [1; 16], iv: [2; 16] }).unwrap().to_string()
    }

    #[test]
    fn an_encrypted_key_reads_back_under_its_passphrase_alone() {
        let text = encrypted();
        assert!(is_encrypted(&text) && !is_encrypted(&signer().secret_text()));
        assert_eq!(read(&text, Some(PASSPHRASE)).unwrap().secret_text(), signer().secret_text());
        let said = |text: &str, passphrase| read(text, passphrase).unwrap_err().to_string();
        assert!(said(&text, Some("another passphrase")).contains("the passphrase is another one"));
        assert!(said(&text, None).contains("no passphrase was given"));
        assert!(said(&signer().secret_text(), Some(PASSPHRASE)).contains("is not encrypted"));
        assert!(encrypt(&signer(), "short", Fresh { salt: [1; 16], iv: [2; 16] }).is_err());
    }

    #[test]
    fn a_changed_file_is_refused() {
        let text = encrypted();
        let other = Signer::from_seed("example.com/auth/seal", [8; 32]).unwrap().verifier_key();
        for bad in [
            text.replace(&signer().verifier_key(), &other),
            text.replace(&signer().verifier_key(), ""),
            text.replace("-----END", "----END"),
            text.replacen("\nM", "\nN", 1),
            text.lines().rev().collect::<Vec<_>>().join("\n"),
        ] {
            assert!(read(&bad, Some(PASSPHRASE)).is_err(), "{bad}");
        }
    }
}
