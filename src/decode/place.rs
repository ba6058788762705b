//! Addresses and countries in one form each, so that events join: what is readable is made canonical, what is not is
//! refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address read, and what came with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    /// The address; IPv4 where IPv6 only maps it.
    pub ip: IpAddr,
    /// What was left out, worth telling: `port`, `zone`.
    pub without: Option<&'static str>,
}

/// Reads an address: also in brackets, with a port, with a zone, and as IPv4 mapped into IPv6. A list of addresses,
/// a name, octets with leading zeros are no address.
pub(crate) fn address(text: &str) -> Option<Address> {
    let text = text.trim_ascii();
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Some(Address { ip: ip.into(), without: None });
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, rest) = rest.split_once(']')?;
        let without = match rest.strip_prefix(':') {
            Some(port) => Some(is_port(port).then_some("port")?),
            None => rest.is_empty().then_some(None)?,
        };
        let inner = version_6(inner)?;
        return Some(Address { without: without.or(inner.without), ..inner });
    }
    if let Some((head, port)) = text.split_once(':')
        && is_port(port)
        && let Ok(ip) = head.parse::<Ipv4Addr>()
    {
        return Some(Address { ip: ip.into(), without: Some("port") });
    }
    version_6(text)
}

/// Reads an address of 4 or 16 bytes.
pub(crate) fn address_of_bytes(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|b| Ipv4Addr::from(b).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|b| Ipv6Addr::from(b).to_canonical()),
        _ => None,
    }
}

/// Whether a text is IPv4 in its only form: four numbers to 255 without leading zeros.
pub(crate) fn is_plain_v4(text: &str) -> bool {
    let (mut rest, mut octets) = (text.as_bytes(), 1);
    loop {
        // the longest first: what is left of a longer number is then no dot
        let length = match rest {
            [b'2', b'5', b'0'..=b'5', ..] | [b'2', b'0'..=b'4', b'0'..=b'9', ..] => 3,
            [b'1', b'0'..=b'9', b'0'..=b'9', ..] => 3,
            [b'1'..=b'9', b'0'..=b'9', ..] => 2,
            [b'0'..=b'9', ..] => 1,
            _ => return false,
        };
        match rest.get(length..) {
            Some([b'.', next @ ..]) if octets < 4 => (rest, octets) = (next, octets + 1),
            left => return octets == 4 && left == Some(&[]),
        }
    }
}

fn version_6(text: &str) -> Option<Address> {
    let (text, without) = match text.split_once('%') {
        Some((_, "")) => return None,
        Some((text, _)) => (text, Some("zone")),
        None => (text, None),
    };
    let ip = text.parse::<Ipv6Addr>().ok()?.to_canonical();
    Some(Address { ip, without })
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// The officially assigned codes of ISO 3166-1 alpha-2, and XK, which everybody uses for Kosovo.
const COUNTRIES: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ \
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO \
    FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE \
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO \
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW \
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM \
    TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

/// For each first letter the second letters, as bits.
const ASSIGNED: [u32; 26] = {
    let text = COUNTRIES.as_bytes();
    let (mut table, mut at) = ([0; 26], 0);
    while at < text.len() {
        table[(text[at] - b'A') as usize] |= 1 << (text[at + 1] - b'A');
        at += 3;
    }
    table
};

/// Whether a text is the code of a country, in any case.
pub(crate) fn is_country(text: &str) -> bool {
    let [first, second] = *text.as_bytes() else { return false };
    let (row, bit) = (first.to_ascii_uppercase().wrapping_sub(b'A'), second.to_ascii_uppercase().wrapping_sub(b'A'));
    bit < 26 && ASSIGNED.get(usize::from(row)).is_some_and(|row| row >> bit & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_form() {
        for (text, want, without) in [
            ("1.2.3.4", "1.2.3.4", None),
            (" 1.2.3.4\n", "1.2.3.4", None),
            ("1.2.3.4:443", "1.2.3.4", Some("port")),
            ("2001:DB8:0:0::1", "2001:db8::1", None),
            ("[::1]", "::1", None),
            ("[::1]:443", "::1", Some("port")),
            ("fe80::1%eth0", "fe80::1", Some("zone")),
            ("[fe80::1%25eth0]:80", "fe80::1", Some("port")),
            ("::ffff:1.2.3.4", "1.2.3.4", None),
            ("[::ffff:102:304]:1", "1.2.3.4", Some("port")),
        ] {
            let address = address(text).unwrap();
            assert_eq!((address.ip.to_string().as_str(), address.without), (want, without), "{text}");
        }
        for bad in [
            "",
            "localhost",
            "1.2.3",
            "1.2.3.4.5",
            "010.1.2.3",
            "1.2.3.4, 5.6.7.8",
            "1.2.3.4:",
            "1.2.3.4:99999",
            "1.2.3.4:+80",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[1.2.3.4]",
            "::1%",
            "1.2.3.4/32",
            "0x7f000001",
            "[]",
            "::1]:80",
        ] {
            assert_eq!(address(bad), None, "{bad}");
        }
        assert_eq!(address_of_bytes(&[1, 2, 3, 4]).unwrap().to_string(), "1.2.3.4");
        assert_eq!(address_of_bytes(&Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets()).unwrap().to_string(), "127.0.0.1");
        assert_eq!(address_of_bytes(&[1, 2, 3]), None);
    }

    #[test]
    fn the_quick_way_knows_ipv4_from_the_rest() {
        use proptest::prelude::*;
        proptest!(|(a: [u8; 4], text in "[0-9.]{0,16}")| {
            prop_assert!(is_plain_v4(&Ipv4Addr::from(a).to_string()));
            prop_assert_eq!(is_plain_v4(&text), text.parse::<Ipv4Addr>().is_ok(), "{}", text);
        });
        for bad in ["", "1.2.3", "1.2.3.4.", ".1.2.3.4", "1..2.3", "01.2.3.4", "1.2.3.256", "1.2.3.04", "1.2.3.4 "] {
            assert!(!is_plain_v4(bad), "{bad}");
        }
    }

    #[test]
    fn countries_are_those_of_iso_3166() {
        assert_eq!(COUNTRIES.split(' ').count(), 250);
        for good in ["us", "US", "Xk", "de"] {
            assert!(is_country(good), "{good}");
        }
        for bad in ["", "U", "USA", "UK", "EU", "ZZ", "A1", "T1", "--", "ß", "é"] {
            assert!(!is_country(bad), "{bad}");
        }
    }
}
