//! RFC 3161 stamps: an authority says that a checkpoint existed at a time. What is stamped is the SHA-256 of the
//! whole note, signatures included, so that `openssl ts -verify` checks a stored stamp against the stored note.
//!
//! The signing certificate is the one that the signed attributes name by its hash (RFC 2634, RFC 5035); it must
//! lead to a certificate that the auditor names, at the time of the stamp. Revocation is not looked at.

mod asn1;

use super::Checkpoint;
use crate::{
    digest::Digest,
    error::{Error, Result},
    fault::{Fault, code},
    note,
};
use asn1::{SignedData, SigningCertificate, TimeStampReq, TimeStampResp, TstInfo, oid};
use cms::signed_data::SignerInfo;
use der::{Any, Decode, Encode, asn1::ObjectIdentifier};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime, pem::PemObject};
use sha2::Digest as _;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, aws_lc_rs as algorithms};
use x509_cert::{Certificate, ext::pkix::ExtendedKeyUsage};

/// An answer is at most this long.
pub const MAX: usize = 256 * 1024;
/// id-kp-timeStamping, as in an extended key usage.
const TIME_STAMPING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 8];
/// Certificates in an answer that are looked at.
const MAX_CERTIFICATES: usize = 16;

/// The certificates that are believed: of the authority itself, or of who issued its certificate.
#[derive(Debug, Clone)]
pub struct Authorities(Vec<CertificateDer<'static>>);

impl Authorities {
    /// Reads PEM certificates; at least one.
    pub fn parse(pem: &[u8]) -> Result<Self> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = read.map_err(|error| Error::config(format!("this is no PEM certificate: {error:?}")))?;
        if certificates.is_empty() {
            return Err(Error::config("there is no PEM certificate in it (BEGIN CERTIFICATE)"));
        }
        for certificate in &certificates {
            Certificate::from_der(certificate)
                .map_err(|error| Error::config(format!("a certificate cannot be read: {error}")))?;
        }
        Ok(Self(certificates))
    }

    /// The certificates of both.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }
}

/// A stamp that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    /// The text of the checkpoint that was stamped.
    pub text: String,
    /// When it existed: milliseconds since 1970.
    pub time: i64,
    /// Subject of the certificate that signed the stamp.
    pub authority: String,
}

/// A stamp whose form is good and that is about the given note; nobody has said yet that its signer is believed.
#[derive(Debug)]
pub struct Stamp {
    text: String,
    signed: SignedData,
    content: Vec<u8>,
    info: TstInfo,
    time: i64,
}

/// The request for a stamp of `note`: a DER `TimeStampReq` with this nonce, which asks for the certificate.
pub fn request(note: &[u8], nonce: u64) -> Result<Vec<u8>> {
    TimeStampReq::new(&Digest::of(note).0, nonce)
        .and_then(|request| request.to_der())
        .map_err(|error| Error::bug(format!("writing a request for a stamp: {error}")))
}

impl Stamp {
    /// Reads an answer and compares it with the note that it must be about.
    pub fn open(note: &[u8], answer: &[u8]) -> Result<Self, Fault> {
        let form = |what: String| Fault::new(code::STAMP_FORM, what);
        if answer.len() > MAX {
            return Err(form(format!("it has {} bytes, at most {MAX} are allowed", answer.len())));
        }
        let text = note::split(note).map_err(super::refused)?.text.to_owned();
        Checkpoint::parse(&text)?;
        let odd = |error: der::Error| form(format!("it is no answer of RFC 3161: {error}"));
        let response = TimeStampResp::from_der(answer).map_err(odd)?;
        // 0 granted, 1 granted with modifications
        if response.status.status > 1 {
            let words = response.status.words();
            return Err(form(format!("the authority refused: status {}{words}", response.status.status)));
        }
        let token = response.token.ok_or_else(|| form("it has no stamp in it".into()))?;
        if token.content_type != oid::SIGNED_DATA {
            return Err(form("its stamp is no SignedData".into()));
        }
        let signed: SignedData = token.content.decode_as().map_err(odd)?;
        let encapsulated = &signed.encap_content_info;
        if encapsulated.econtent_type != oid::TST_INFO {
            return Err(form("what it signs is no TSTInfo".into()));
        }
        let content = encapsulated.econtent.as_ref().map(|content| content.value().to_vec());
        let content = content.ok_or_else(|| form("what it signs is not in it".into()))?;
        let info = TstInfo::from_der(&content).map_err(odd)?;
        if info.version != 1 || info.has_critical_extension() {
            return Err(form("its TSTInfo is of another version, or asks for more than this version knows".into()));
        }
        let time = info.time().ok_or_else(|| form("its time cannot be read".into()))?;
        let imprint = &info.message_imprint;
        if imprint.hash_algorithm.oid != oid::SHA_256 || imprint.hashed_message.as_bytes() != Digest::of(note).0 {
            return Err(Fault::new(code::STAMP_IMPRINT, "it is the stamp of something else than this checkpoint"));
        }
        Ok(Self { text, signed, content, info, time })
    }

    /// When it says that the note existed: milliseconds since 1970.
    pub fn time(&self) -> i64 {
        self.time
    }

    /// Whether it answers the request with this nonce.
    pub fn answers(&self, nonce: u64) -> bool {
        let (there, asked) = (self.info.nonce.as_ref().map(Encode::to_der), nonce.to_der());
        matches!((there, asked), (Some(Ok(there)), Ok(asked)) if there == asked)
    }

    /// Verifies the signature, and that its certificate may stamp and leads to one of `authorities`.
    pub fn verify(&self, authorities: &Authorities) -> Result<Stamped, Fault> {
        let wrong = |what: &str| Fault::new(code::STAMP_SIGNATURE, what);
        let [signer] = self.signed.signer_infos.0.as_slice() else {
            return Err(wrong("it has not exactly one signature"));
        };
        let attributes = signer.signed_attrs.as_ref().ok_or_else(|| wrong("it signs no attributes"))?;
        let one = |id: ObjectIdentifier| {
            let mut values = attributes.iter().filter(|a| a.oid == id).flat_map(|a| a.values.iter());
            values.next().filter(|_| values.next().is_none())
        };
        let of_type = one(oid::CONTENT_TYPE).and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
        if of_type != Some(oid::TST_INFO) {
            return Err(wrong("its signature is not for a stamp"));
        }
        let hash = hash(&signer.digest_alg.oid, &self.content);
        let hash = hash.ok_or_else(|| wrong("its digest is none of SHA-256, SHA-384 and SHA-512"))?;
        if one(oid::MESSAGE_DIGEST).map(Any::value) != Some(&hash) {
            return Err(wrong("its signature is over something else"));
        }
        let known: Vec<CertificateDer<'static>> = self.certificates().chain(authorities.0.iter().cloned()).collect();
        let named = Named::read(one(oid::SIGNING_CERTIFICATE_V2), one(oid::SIGNING_CERTIFICATE));
        let named = named.ok_or_else(|| wrong("it does not name its certificate, as RFC 3161 asks"))?;
        let Some(certificate) = known.iter().find(|certificate| named.is(certificate)) else {
            return Err(Fault::new(
                code::STAMP_UNTRUSTED,
                "the certificate that signed it is not in it, nor was given",
            ));
        };
        let signed = attributes.to_der().map_err(|_| wrong("its attributes cannot be written again"))?;
        let entity = EndEntityCert::try_from(certificate).map_err(|_| wrong("its certificate cannot be read"))?;
        let good = algorithms_of(signer)
            .into_iter()
            .any(|algorithm| entity.verify_signature(algorithm, &signed, signer.signature.as_bytes()).is_ok());
        if !good {
            return Err(wrong("its signature does not fit, or is of an algorithm that this version does not know"));
        }
        self.lead(certificate, &entity, &known, authorities)
    }

    /// Whether the certificate may stamp, was valid then, and leads to one that is believed.
    fn lead(
        &self,
        certificate: &CertificateDer<'static>,
        entity: &EndEntityCert<'_>,
        known: &[CertificateDer<'static>],
        authorities: &Authorities,
    ) -> Result<Stamped, Fault> {
        let untrusted = |what: String| Fault::new(code::STAMP_UNTRUSTED, what);
        let read = Certificate::from_der(certificate);
        let read = read.map_err(|error| untrusted(format!("its certificate cannot be read: {error}")))?;
        let authority = read.tbs_certificate.subject.to_string();
        let usage: Option<(bool, ExtendedKeyUsage)> = read.tbs_certificate.get().ok().flatten();
        // RFC 3161 §2.3: critical, and nothing beside it
        if !usage.is_some_and(|(critical, usage)| critical && usage.0 == [oid::TIME_STAMPING]) {
            return Err(untrusted(format!("the certificate of {authority} is not one for stamps alone")));
        }
        let validity = &read.tbs_certificate.validity;
        let seconds = Duration::from_millis(self.time.try_into().unwrap_or(0));
        if seconds < validity.not_before.to_unix_duration() || seconds > validity.not_after.to_unix_duration() {
            return Err(untrusted(format!("the certificate of {authority} was not valid at the time of the stamp")));
        }
        let stamped = Stamped { text: self.text.clone(), time: self.time, authority };
        if authorities.0.contains(certificate) {
            return Ok(stamped);
        }
        let anchors: Vec<TrustAnchor<'_>> =
            authorities.0.iter().filter_map(|authority| anchor_from_trusted_cert(authority).ok()).collect();
        let (at, usage) = (UnixTime::since_unix_epoch(seconds), KeyUsage::required(TIME_STAMPING));
        let path = entity.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, known, at, usage, None, None);
        match path {
            Ok(_) => Ok(stamped),
            Err(error) => {
                let words = format!("the certificate of {} leads to none that was given: {error}", stamped.authority);
                Err(untrusted(words))
            }
        }
    }

    fn certificates(&self) -> impl Iterator<Item = CertificateDer<'static>> {
        let all = self.signed.certificates.iter().flat_map(|set| set.iter());
        all.take(MAX_CERTIFICATES).filter_map(|any| any.to_der().ok()).map(CertificateDer::from)
    }
}

/// The hash by which a stamp names its certificate.
struct Named {
    algorithm: ObjectIdentifier,
    hash: Vec<u8>,
}

impl Named {
    fn read(v2: Option<&Any>, v1: Option<&Any>) -> Option<Self> {
        let (any, otherwise) = match (v2, v1) {
            (Some(any), _) => (any, oid::SHA_256),
            (None, any) => (any?, oid::SHA_1),
        };
        let named: SigningCertificate = any.decode_as().ok()?;
        let first = named.certs.into_iter().next()?;
        let algorithm = first.hash_algorithm.map_or(otherwise, |algorithm| algorithm.oid);
        Some(Self { algorithm, hash: first.hash.as_bytes().to_vec() })
    }

    fn is(&self, certificate: &[u8]) -> bool {
        let hash = match self.algorithm {
            oid::SHA_1 => Some(sha1::Sha1::digest(certificate).to_vec()),
            other => hash(&other, certificate),
        };
        hash.is_some_and(|hash| hash == self.hash)
    }
}

fn hash(algorithm: &ObjectIdentifier, bytes: &[u8]) -> Option<Vec<u8>> {
    match *algorithm {
        oid::SHA_256 => Some(sha2::Sha256::digest(bytes).to_vec()),
        oid::SHA_384 => Some(sha2::Sha384::digest(bytes).to_vec()),
        oid::SHA_512 => Some(sha2::Sha512::digest(bytes).to_vec()),
        _ => None,
    }
}

/// What a signature may be: its algorithm may leave the digest, and leaves the curve, to be found elsewhere.
fn algorithms_of(signer: &SignerInfo) -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    let (algorithm, digest) = (signer.signature_algorithm.oid, signer.digest_alg.oid);
    match (algorithm, digest) {
        (oid::RSA | oid::RSA_SHA_256, oid::SHA_256) => vec![algorithms::RSA_PKCS1_2048_8192_SHA256],
        (oid::RSA | oid::RSA_SHA_384, oid::SHA_384) => vec![algorithms::RSA_PKCS1_2048_8192_SHA384],
        (oid::RSA | oid::RSA_SHA_512, oid::SHA_512) => vec![algorithms::RSA_PKCS1_2048_8192_SHA512],
        (oid::RSA_PSS, oid::SHA_256) => vec![algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
        (oid::RSA_PSS, oid::SHA_384) => vec![algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
        (oid::RSA_PSS, oid::SHA_512) => vec![algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        (oid::ECDSA_SHA_256, _) => {
            vec![algorithms::ECDSA_P256_SHA256, algorithms::ECDSA_P384_SHA256, algorithms::ECDSA_P521_SHA256]
        }
        (oid::ECDSA_SHA_384, _) => {
            vec![algorithms::ECDSA_P256_SHA384, algorithms::ECDSA_P384_SHA384, algorithms::ECDSA_P521_SHA384]
        }
        (oid::ECDSA_SHA_512, _) => {
            vec![algorithms::ECDSA_P256_SHA512, algorithms::ECDSA_P384_SHA512, algorithms::ECDSA_P521_SHA512]
        }
        (oid::ED25519, _) => vec![algorithms::ED25519],
        _ => vec![],
    }
}

#[cfg(test)]
mod tests;
