//! Stamps that OpenSSL made, and what is none.

use super::*;
use proptest::prelude::*;

const NOTE: &[u8] = include_bytes!("../../../tests/data/stamps/checkpoint");
const RSA: &[u8] = include_bytes!("../../../tests/data/stamps/rsa.tsr");
const P256: &[u8] = include_bytes!("../../../tests/data/stamps/p256.tsr");

fn pem(name: &str) -> Authorities {
    let path = format!("{}/tests/data/stamps/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    Authorities::parse(&std::fs::read(path).unwrap()).unwrap()
}

fn verify(answer: &[u8], authorities: &Authorities) -> Result<Stamped, &'static str> {
    let stamp = Stamp::open(NOTE, answer).map_err(|fault| fault.code)?;
    stamp.verify(authorities).map_err(|fault| fault.code)
}

#[test]
fn stamps_of_openssl_verify_under_their_authority_or_its_issuer() {
    for (answer, name) in [(RSA, "rsa"), (P256, "p256")] {
        for of in ["ca", "tsa"] {
            let stamped = verify(answer, &pem(&format!("{name}-{of}"))).unwrap();
            assert_eq!(stamped.authority, "CN=test TSA");
            assert!(NOTE.starts_with(stamped.text.as_bytes()) && stamped.text.ends_with("RgQyg=\n"));
            assert_eq!(stamped.time % 1000, 0);
            assert!(stamped.time > 1_790_000_000_000, "{}", stamped.time);
        }
    }
}

#[test]
fn another_authority_is_not_believed() {
    assert_eq!(verify(RSA, &pem("p256-ca")), Err(code::STAMP_UNTRUSTED));
    assert_eq!(verify(RSA, &pem("p256-tsa")), Err(code::STAMP_UNTRUSTED));
    assert!(verify(RSA, &pem("p256-ca").and(pem("rsa-ca"))).is_ok());
}

#[test]
fn a_stamp_is_of_one_note_and_answers_one_request() {
    let other = [NOTE, "\u{2014} w AAAAAAAA\n".as_bytes()].concat();
    assert_eq!(Stamp::open(&other, RSA).unwrap_err().code, code::STAMP_IMPRINT);
    assert_eq!(Stamp::open(b"no note", RSA).unwrap_err().code, code::LOG_FORM);
    let stamp = Stamp::open(NOTE, RSA).unwrap();
    let mut nonce = stamp.info.nonce.as_ref().unwrap().as_bytes().to_vec();
    nonce.drain(..nonce.len().saturating_sub(8));
    let nonce = u64::from_be_bytes(nonce.try_into().unwrap());
    assert!(stamp.answers(nonce) && !stamp.answers(nonce ^ 1));
}

#[test]
fn what_is_no_stamp_says_what_it_is_instead() {
    let says = |answer: &[u8]| Stamp::open(NOTE, answer).unwrap_err();
    for garbage in [&b""[..], b"<html>", &RSA[..RSA.len() - 1], &[RSA, b"\0"].concat()] {
        assert_eq!(says(garbage).code, code::STAMP_FORM);
    }
    // SEQUENCE { SEQUENCE { INTEGER 2, SEQUENCE { UTF8String "no" } } }: a refusal
    let refusal = [0x30, 11, 0x30, 9, 2, 1, 2, 0x30, 4, 0x0c, 2, b'n', b'o'];
    assert!(says(&refusal).detail.contains("refused: status 2: no"), "{}", says(&refusal));
    assert!(Authorities::parse(b"").is_err() && Authorities::parse(b"-----BEGIN CERTIFICATE-----\nAA").is_err());
}

#[test]
fn the_request_is_what_openssl_would_send() {
    let request = request(NOTE, 0x1234).unwrap();
    let hash = Digest::of(NOTE).0;
    let want = [
        &[0x30, 61, 2, 1, 1, 0x30, 49, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 32][..],
        &hash,
        &[2, 2, 0x12, 0x34, 1, 1, 0xff],
    ]
    .concat();
    assert_eq!(request, want);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Some bits are not signed (the status, certificates that nobody needs); none of them changes what is said.
    #[test]
    fn a_changed_bit_is_refused_or_says_the_same(at: prop::sample::Index, bit in 0..8_u32, of_rsa: bool) {
        let (good, authorities) = if of_rsa { (RSA, pem("rsa-ca")) } else { (P256, pem("p256-ca")) };
        let mut answer = good.to_vec();
        let at = at.index(answer.len());
        answer[at] ^= 1_u8 << bit;
        if let Ok(stamped) = verify(&answer, &authorities) {
            prop_assert_eq!(Ok(stamped), verify(good, &authorities));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
        prop_assert!(Stamp::open(NOTE, &bytes).is_err());
        prop_assert!(Authorities::parse(&bytes).is_err());
    }
}
