//! What enrichment adds to events, what it leaves alone, and what a rule makes of it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod mmdb;
mod rule;

use authseal::{
    decode::{
        Decoder, Format, TopicSpec,
        enrich::{Database, ENRICHED, Enricher, marks},
    },
    event::AuthEvent,
    position::ChainId,
    record::{Outcome, RawRecord, TimestampType},
};
use mmdb::database;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

/// 2026-11-17.
const BUILT: u64 = 1_794_873_600;
const CHROME: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

fn city() -> Vec<u8> {
    let place = |code: &str, name: &str, lat: f64, long: f64, radius: u64| {
        json!({
            "city": { "geoname_id": 7, "names": { "de": format!("{name} (de)"), "en": name } },
            "country": { "iso_code": code, "names": { "en": "what it is called" } },
            "location": { "latitude": lat, "longitude": long, "accuracy_radius": radius, "time_zone": "Europe/London" },
            "subdivisions": [{ "iso_code": "X", "names": { "en": "a part of it" } }],
        })
    };
    database(
        "GeoLite2-City",
        BUILT,
        28,
        &[
            ("81.2.69.0/24", place("GB", "London", 51.5142, -0.0931, 10)),
            ("216.160.83.56/29", place("US", "Milton", 47.2513, -122.3149, 22)),
            ("2001:218::/32", place("JP", "Tokyo", 35.6854, 139.7531, 100)),
            (
                "175.16.199.0/24",
                json!({ "country": { "iso_code": "CN" }, "location": { "latitude": 35.0, "longitude": 105.0,
                "accuracy_radius": 1000 } }),
            ),
            (
                "198.18.0.0/15",
                json!({ "country": { "iso_code": "ZZ" }, "location": { "latitude": 1.0, "longitude": 2.0 } }),
            ),
        ],
    )
}

fn networks() -> Vec<u8> {
    let number = |n: u64| json!({ "autonomous_system_number": n, "autonomous_system_organization": "somebody" });
    database("GeoLite2-ASN", BUILT, 24, &[("81.2.64.0/18", number(20712)), ("2001:200::/23", number(2497))])
}

fn anonymous() -> Vec<u8> {
    database(
        "GeoIP2-Anonymous-IP",
        BUILT,
        32,
        &[
            ("81.2.69.0/24", json!({ "is_anonymous": true, "is_anonymous_vpn": true })),
            ("216.160.83.0/24", json!({ "is_anonymous": true, "is_tor_exit_node": true })),
            ("2001:218::/32", json!({ "is_anonymous": true, "is_hosting_provider": true })),
        ],
    )
}

/// The same things as IPinfo calls them.
fn ipinfo() -> Vec<u8> {
    database(
        "ipinfo standard_location_mmdb.mmdb",
        BUILT,
        32,
        &[
            (
                "81.2.69.0/24",
                json!({ "city": "London", "country": "GB", "lat": "51.5085", "lng": "-0.1257", "asn": "AS20712",
                    "vpn": "true", "proxy": "", "tor": "false" }),
            ),
            ("9.9.9.0/24", json!({ "country_code": "US", "asn": "AS19281" })),
        ],
    )
}

fn open(bytes: Vec<u8>) -> Arc<Database> {
    Arc::new(Database::new(bytes).unwrap())
}

fn enricher(databases: Vec<Vec<u8>>) -> Arc<Enricher> {
    Arc::new(Enricher::new(databases.into_iter().map(open).collect(), true))
}

fn decode(enricher: &Arc<Enricher>, members: Value) -> AuthEvent {
    let spec = TopicSpec {
        format: Format::Json,
        source: None,
        tenant: None,
        keep_event_only: false,
        secret_fields: Vec::new(),
    };
    let decoder = Decoder::new(spec, &[7; 32]).unwrap().enriching(enricher.clone());
    let mut object = json!({ "time": "2026-11-21T08:00:00Z", "user": "ann" });
    object.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let chain: ChainId = "main/auth/0/0".parse().unwrap();
    let raw = RawRecord {
        timestamp: 1_795_248_000_000,
        timestamp_type: TimestampType::CreateTime,
        value: Some(object.to_string().into()),
        ..RawRecord::default()
    };
    match decoder.decode(&chain, &raw).outcome {
        Outcome::Event(event) => *event,
        other => panic!("no event: {other:?}"),
    }
}

/// Whether an alert is what OCSF says, where there is a Python to ask (`AUTHSEAL_TEST_PYTHON`: `make test-live`).
fn assert_ocsf(alert: &[u8]) {
    let Ok(python) = std::env::var("AUTHSEAL_TEST_PYTHON") else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [alert, b"\n"].concat()).unwrap();
    let ocsf = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ocsf");
    let mut check = std::process::Command::new(python);
    check.arg(ocsf.join("validate.py")).arg(ocsf.join("schema/detection_finding.schema.json")).arg(file.path());
    let output = check.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Who filled a name in, without the digest.
fn by(event: &AuthEvent, name: &str) -> Option<String> {
    let mut all = marks(event.attributes.get(ENRICHED)?);
    let origin = all.find_map(|(mut names, origin)| names.any(|n| n == name).then_some(origin))?;
    Some(origin.split('#').next().unwrap().to_owned())
}

#[test]
fn an_address_gets_its_place_network_and_anonymity_from_three_databases() {
    let enricher = enricher(vec![city(), networks(), anonymous()]);
    let event = decode(&enricher, json!({ "src_ip": "81.2.69.142", "user_agent": CHROME }));
    assert_eq!((event.country.as_deref(), event.city.as_deref()), (Some("GB"), Some("London")));
    assert_eq!((event.lat, event.long, event.src_asn), (Some(51.5142), Some(-0.0931), Some(20712)));
    assert_eq!((event.is_vpn, event.is_proxy), (Some(true), Some(false)));
    assert_eq!((event.attributes.get("ua.client"), event.attributes.get("ua.os")), (Some("Chrome"), Some("Windows")));
    let digests: Vec<String> =
        enricher.databases().iter().map(|d| d.label().rsplit('#').next().unwrap().to_owned()).collect();
    assert!(digests.iter().all(|d| d.len() == 16 && d.bytes().all(|b| b.is_ascii_hexdigit())), "{digests:?}");
    assert_eq!(
        event.attributes.get(ENRICHED).unwrap(),
        format!(
            "country,city,lat,long=GeoLite2-City@2026-11-17#{}; src_asn=GeoLite2-ASN@2026-11-17#{}; \
             is_proxy,is_vpn=GeoIP2-Anonymous-IP@2026-11-17#{}; ua.client,ua.os=woothee@0.13",
            digests[0], digests[1], digests[2]
        )
    );
    // the same in IPv6, and an exit of Tor
    let event = decode(&enricher, json!({ "src_ip": "2001:218::1" }));
    assert_eq!((event.city.as_deref(), event.src_asn), (Some("Tokyo"), Some(2497)));
    assert_eq!((event.is_vpn, event.is_proxy), (Some(false), Some(false)));
    let event = decode(&enricher, json!({ "src_ip": "::ffff:216.160.83.57" }));
    assert_eq!((event.city.as_deref(), event.is_proxy, event.is_vpn), (Some("Milton"), Some(true), Some(false)));
}

#[test]
fn other_makers_names_are_understood() {
    let enricher = enricher(vec![ipinfo()]);
    let event = decode(&enricher, json!({ "src_ip": "81.2.69.1" }));
    assert_eq!((event.country.as_deref(), event.city.as_deref()), (Some("GB"), Some("London")));
    assert_eq!((event.lat, event.long, event.src_asn), (Some(51.5085), Some(-0.1257), Some(20712)));
    assert_eq!((event.is_vpn, event.is_proxy), (Some(true), Some(false)));
    let event = decode(&enricher, json!({ "src_ip": "9.9.9.9" }));
    assert_eq!((event.country.as_deref(), event.src_asn, event.is_vpn), (Some("US"), Some(19281), None));
    assert_eq!(by(&event, "country").as_deref(), Some("ipinfo_standard_location_mmdb.mmdb@2026-11-17"));
}

#[test]
fn what_the_source_said_is_never_overwritten() {
    let enricher = enricher(vec![city(), networks(), anonymous()]);
    let all = json!({
        "src_ip": "81.2.69.142", "country": "IE", "city": "Dublin", "lat": 53.3, "long": -6.2, "src_asn": 1,
        "is_vpn": false, "is_proxy": true, "user_agent": CHROME,
        "attributes": { "ua.client": "Ours", "ua.os": "Theirs" },
    });
    let event = decode(&enricher, all);
    assert_eq!((event.country.as_deref(), event.city.as_deref()), (Some("IE"), Some("Dublin")));
    assert_eq!((event.lat, event.long, event.src_asn), (Some(53.3), Some(-6.2), Some(1)));
    assert_eq!((event.is_vpn, event.is_proxy), (Some(false), Some(true)));
    assert_eq!((event.attributes.get("ua.client"), event.attributes.get("ua.os")), (Some("Ours"), Some("Theirs")));
    assert_eq!(event.attributes.get(ENRICHED), None, "nothing was filled in");
}

#[test]
fn a_place_is_of_one_origin_unless_both_agree() {
    let enricher = enricher(vec![city()]);
    let place = |members: Value| {
        let event = decode(&enricher, members);
        (event.country.map(String::from), event.city.map(String::from), event.lat.is_some(), event.long.is_some())
    };
    let text = |text: &str| Some(text.to_owned());
    let ip = "81.2.69.142";
    // another country, or another city: no coordinates from there
    assert_eq!(place(json!({ "src_ip": ip, "country": "IE" })), (text("IE"), None, false, false));
    assert_eq!(
        place(json!({ "src_ip": ip, "country": "gb", "city": "Leeds" })),
        (text("GB"), text("Leeds"), false, false)
    );
    // the same: what is missing
    assert_eq!(place(json!({ "src_ip": ip, "country": "GB" })), (text("GB"), text("London"), true, true));
    assert_eq!(place(json!({ "src_ip": ip, "city": "LONDON" })), (text("GB"), text("LONDON"), true, true));
    // half a place is not made whole with half of another
    assert_eq!(place(json!({ "src_ip": ip, "lat": 1.5 })), (text("GB"), text("London"), true, false));
    // what could not be read is no word of the source, and its text stays
    let event = decode(&enricher, json!({ "src_ip": ip, "country": "England" }));
    assert_eq!((event.country.as_deref(), event.attributes.get("raw.country")), (Some("GB"), Some("England")));
}

#[test]
fn what_a_database_does_not_know_stays_empty() {
    let enricher = enricher(vec![city(), networks(), anonymous()]);
    for ip in [
        "10.1.2.3",
        "127.0.0.1",
        "192.0.2.1",
        "203.0.113.7",
        "169.254.1.1",
        "100.64.0.1",
        "fe80::1",
        "::1",
        "::",
        "2001:db8::1",
        "0.0.0.0",
        "255.255.255.255",
        "198.18.0.1",
    ] {
        let event = decode(&enricher, json!({ "src_ip": ip }));
        assert_eq!((event.country, event.city, event.lat, event.src_asn), (None, None, None, None), "{ip}");
        assert_eq!((event.is_vpn, event.attributes.get(ENRICHED)), (None, None), "{ip}");
    }
    // the middle of a country is no place
    let event = decode(&enricher, json!({ "src_ip": "175.16.199.1" }));
    assert_eq!((event.country.as_deref(), event.lat, event.long), (Some("CN"), None, None));
    // no address at all
    assert_eq!(decode(&enricher, json!({ "src_ip": "unknown" })).attributes.get(ENRICHED), None);
}

#[test]
fn user_agents_name_their_software() {
    let enricher = enricher(vec![]);
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
    let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/17.5 Mobile/15E148 Safari/604.1";
    let long = "x".repeat(5000);
    for (text, client, os) in [
        (CHROME, Some("Chrome"), Some("Windows")),
        (&format!("{CHROME} Edg/142.0.0.0"), Some("Edge"), Some("Windows")),
        (&CHROME.replace("Chrome/", "HeadlessChrome/"), Some("HeadlessChrome"), Some("Windows")),
        (firefox, Some("Firefox"), Some("Linux")),
        (phone, Some("Safari"), Some("iOS")),
        ("curl/8.5.0", Some("curl"), None),
        ("python-requests/2.32", Some("python-requests"), None),
        ("Go-http-client/2.0", Some("Go-http-client"), None),
        ("okta-sdk-java", Some("okta-sdk-java"), None),
        ("Mozilla/5.0", None, None),
        ("🙂/1.0", None, None),
        ("(nothing)", None, None),
        (&long, None, None),
    ] {
        let event = decode(&enricher, json!({ "user_agent": text }));
        assert_eq!((event.attributes.get("ua.client"), event.attributes.get("ua.os")), (client, os), "{text}");
        assert_eq!(event.user_agent.as_deref(), Some(text));
    }
}

#[test]
fn no_source_can_say_that_it_was_enriched() {
    for enricher in [enricher(vec![]), enricher(vec![city()])] {
        let forged = json!({ "enriched": "country=GeoLite2-City@2026-11-17#0123456789abcdef", "country": "GB" });
        let event = decode(&enricher, forged.clone());
        assert_eq!(event.attributes.get(ENRICHED), None);
        assert!(
            event.attributes.get("raw.enriched").is_some() && event.quality.iter().any(|q| q == "attributes:reserved")
        );
        let event = decode(&enricher, json!({ "attributes": forged }));
        assert_eq!(event.attributes.get(ENRICHED), None);
    }
}

#[test]
fn databases_are_replaced_under_way() {
    let enricher = enricher(vec![city()]);
    assert_eq!(decode(&enricher, json!({ "src_ip": "9.9.9.9" })).country, None);
    enricher.replace(vec![open(ipinfo())]);
    assert_eq!(decode(&enricher, json!({ "src_ip": "9.9.9.9" })).country.as_deref(), Some("US"));
}

#[test]
fn a_file_that_is_no_good_database_is_refused_with_the_reason() {
    let refused = |bytes: Vec<u8>| Database::new(bytes).unwrap_err();
    assert!(refused(b"not one".to_vec()).starts_with("it is no database in MaxMind's format"));
    assert!(refused(Vec::new()).starts_with("it is no database in MaxMind's format"));
    let half = city();
    assert!(refused(half[..half.len() / 2].to_vec()).starts_with("it is no database in MaxMind's format"));
    let useless =
        database("GeoIP2-Connection-Type", BUILT, 32, &[("81.2.69.0/24", json!({ "connection_type": "Cable" }))]);
    let told = refused(useless);
    assert!(told.starts_with("it is a GeoIP2-Connection-Type, and has nothing"), "{told}");
    // the end of the records torn out: the tree leads beyond
    let whole = city();
    let marker = whole.windows(14).rposition(|w| w == b"\xab\xcd\xefMaxMind.com").unwrap();
    let torn = [&whole[..marker - 60], &whole[marker..]].concat();
    assert!(refused(torn).contains("it is damaged"), "{:?}", Database::new(city()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever stands in a file that is taken: no panic, and nothing that an event must not hold.
    #[test]
    fn damaged_databases_do_no_harm(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ip: [u8; 4])
    {
        let mut bytes = city();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(database) = Database::new(bytes) {
            let enricher = Arc::new(Enricher::new(vec![Arc::new(database)], false));
            for ip in [std::net::Ipv4Addr::from(ip).to_string(), "81.2.69.142".into(), "2001:218::1".into()] {
                let event = decode(&enricher, json!({ "src_ip": ip }));
                let code = |code: &str| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase());
                prop_assert!(event.country.as_deref().is_none_or(code));
                prop_assert!(event.lat.is_none_or(|lat| (-90.0..=90.0).contains(&lat)));
                prop_assert!(event.long.is_none_or(|long| (-180.0..=180.0).contains(&long)));
            }
        }
    }

    #[test]
    fn user_agents_of_any_text_are_read(text in ".{1,300}") {
        let enricher = Arc::new(Enricher::new(Vec::new(), true));
        let event = decode(&enricher, json!({ "user_agent": text }));
        prop_assert!(event.attributes.get("ua.client").is_none_or(|client| client.len() <= 64));
    }
}
