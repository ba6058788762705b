//! The ASN.1 of RFC 3161 and of what it borrows (RFC 5652, RFC 5035), as types: `der` derives how they are read.

use cms::{
    content_info::{CmsVersion, ContentInfo},
    signed_data::{DigestAlgorithmIdentifiers, EncapsulatedContentInfo, SignerInfos},
};
use der::{
    Any, Sequence, Tag, Tagged,
    asn1::{BitString, Int, ObjectIdentifier, OctetString, SetOfVec},
};
use x509_cert::{ext::Extensions, spki::AlgorithmIdentifierOwned};

/// Object identifiers, each by the name that its specification gives it.
pub mod oid {
    use der::asn1::ObjectIdentifier as Oid;

    pub const SIGNED_DATA: Oid = Oid::new_unwrap("1.2.840.113549.1.7.2");
    pub const TST_INFO: Oid = Oid::new_unwrap("1.2.840.113549.1.9.16.1.4");
    pub const CONTENT_TYPE: Oid = Oid::new_unwrap("1.2.840.113549.1.9.3");
    pub const MESSAGE_DIGEST: Oid = Oid::new_unwrap("1.2.840.113549.1.9.4");
    pub const SIGNING_CERTIFICATE: Oid = Oid::new_unwrap("1.2.840.113549.1.9.16.2.12");
    pub const SIGNING_CERTIFICATE_V2: Oid = Oid::new_unwrap("1.2.840.113549.1.9.16.2.47");
    pub const TIME_STAMPING: Oid = Oid::new_unwrap("1.3.6.1.5.5.7.3.8");
    pub const SHA_1: Oid = Oid::new_unwrap("1.3.14.3.2.26");
    pub const SHA_256: Oid = Oid::new_unwrap("2.16.840.1.101.3.4.2.1");
    pub const SHA_384: Oid = Oid::new_unwrap("2.16.840.1.101.3.4.2.2");
    pub const SHA_512: Oid = Oid::new_unwrap("2.16.840.1.101.3.4.2.3");
    pub const RSA: Oid = Oid::new_unwrap("1.2.840.113549.1.1.1");
    pub const RSA_PSS: Oid = Oid::new_unwrap("1.2.840.113549.1.1.10");
    pub const RSA_SHA_256: Oid = Oid::new_unwrap("1.2.840.113549.1.1.11");
    pub const RSA_SHA_384: Oid = Oid::new_unwrap("1.2.840.113549.1.1.12");
    pub const RSA_SHA_512: Oid = Oid::new_unwrap("1.2.840.113549.1.1.13");
    pub const ECDSA_SHA_256: Oid = Oid::new_unwrap("1.2.840.10045.4.3.2");
    pub const ECDSA_SHA_384: Oid = Oid::new_unwrap("1.2.840.10045.4.3.3");
    pub const ECDSA_SHA_512: Oid = Oid::new_unwrap("1.2.840.10045.4.3.4");
    pub const ED25519: Oid = Oid::new_unwrap("1.3.101.112");
}

/// What is stamped.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub struct MessageImprint {
    pub hash_algorithm: AlgorithmIdentifierOwned,
    pub hashed_message: OctetString,
}

/// RFC 3161 §2.4.1.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub struct TimeStampReq {
    version: u8,
    message_imprint: MessageImprint,
    #[asn1(optional = "true")]
    req_policy: Option<ObjectIdentifier>,
    #[asn1(optional = "true")]
    nonce: Option<u64>,
    #[asn1(default = "Default::default")]
    cert_req: bool,
}

impl TimeStampReq {
    pub fn new(hash: &[u8; 32], nonce: u64) -> der::Result<Self> {
        // parameters as OpenSSL writes them: authorities are used to it
        let hash_algorithm = AlgorithmIdentifierOwned { oid: oid::SHA_256, parameters: Some(Any::null()) };
        let message_imprint = MessageImprint { hash_algorithm, hashed_message: OctetString::new(hash.as_slice())? };
        Ok(Self { version: 1, message_imprint, req_policy: None, nonce: Some(nonce), cert_req: true })
    }
}

/// RFC 3161 §2.4.2.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub struct TimeStampResp {
    pub status: PkiStatusInfo,
    #[asn1(optional = "true")]
    pub token: Option<ContentInfo>,
}

/// Whether a stamp was given, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub struct PkiStatusInfo {
    pub status: u8,
    #[asn1(optional = "true")]
    pub status_string: Option<Vec<String>>,
    #[asn1(optional = "true")]
    pub fail_info: Option<BitString>,
}

impl PkiStatusInfo {
    /// What the authority says, for people.
    pub fn words(&self) -> String {
        let said = self.status_string.iter().flatten().flat_map(|text| text.chars());
        let plain: String = said.map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
        if plain.is_empty() { plain } else { format!(": {plain}") }
    }
}

/// RFC 5652 §5.1. Certificates stay bytes: their hash and signature are over these.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub struct SignedData {
    pub version: CmsVersion,
    pub digest_algorithms: DigestAlgorithmIdentifiers,
    pub encap_content_info: EncapsulatedContentInfo,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", constructed = "true", optional = "true")]
    pub certificates: Option<SetOfVec<Any>>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true", optional = "true")]
    pub crls: Option<SetOfVec<Any>>,
    pub signer_infos: SignerInfos,
}

/// How exact the time is: read over, for whoever needs it reads the stamp itself.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub struct Accuracy {
    #[asn1(optional = "true")]
    pub seconds: Option<Int>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    pub millis: Option<Int>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub micros: Option<Int>,
}

/// RFC 3161 §2.4.2: what is signed.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub struct TstInfo {
    pub version: u8,
    pub policy: ObjectIdentifier,
    pub message_imprint: MessageImprint,
    pub serial_number: Int,
    /// A GeneralizedTime, which may have fractions here.
    pub gen_time: Any,
    #[asn1(optional = "true")]
    pub accuracy: Option<Accuracy>,
    #[asn1(default = "Default::default")]
    pub ordering: bool,
    #[asn1(optional = "true")]
    pub nonce: Option<Int>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub tsa: Option<Any>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true", optional = "true")]
    pub extensions: Option<Extensions>,
}

impl TstInfo {
    /// Whether it asks for something that whoever does not know it must not accept.
    pub fn has_critical_extension(&self) -> bool {
        self.extensions.iter().flatten().any(|extension| extension.critical)
    }

    /// `YYYYMMDDhhmmss[.f…]Z` as milliseconds since 1970.
    pub fn time(&self) -> Option<i64> {
        if self.gen_time.tag() != Tag::GeneralizedTime {
            return None;
        }
        let text = std::str::from_utf8(self.gen_time.value()).ok()?.strip_suffix('Z')?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.len() < 20 && text.bytes().all(|c| c.is_ascii_digit());
        if whole.len() != 14 || !digits(whole) || !digits(fraction) {
            return None;
        }
        let two = |at: usize| whole.get(at..at + 2)?.parse::<i8>().ok();
        let year = whole.get(..4)?.parse().ok()?;
        let millis: i32 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        let moment =
            jiff::civil::DateTime::new(year, two(4)?, two(6)?, two(8)?, two(10)?, two(12)?, millis * 1_000_000);
        let moment = moment.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(moment.timestamp().as_millisecond()).filter(|time| *time >= 0)
    }
}

/// RFC 5035 §3 and, with the hash algorithm left out, RFC 2634 §5.4: the certificate of the signature comes first.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub struct SigningCertificate {
    pub certs: Vec<EssCertId>,
    #[asn1(optional = "true")]
    pub policies: Option<Any>,
}

/// A certificate by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub struct EssCertId {
    #[asn1(optional = "true")]
    pub hash_algorithm: Option<AlgorithmIdentifierOwned>,
    pub hash: OctetString,
    #[asn1(optional = "true")]
    pub issuer_serial: Option<Any>,
}
