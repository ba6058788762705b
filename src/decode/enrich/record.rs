//! One record of a database, and which of our fields its entries are. Databases of different makers name the same
//! things differently, and their types say little, so each entry is recognised by its name: those of MaxMind (GeoIP2,
//! GeoLite2), of DB-IP, which uses the same, and of IPinfo.

use crate::{decode::place::is_country, event::Text};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::fmt;

/// Bytes of a city's name at most.
const LONGEST_CITY: usize = 256;
/// From this radius on, in kilometres, coordinates are the middle of a country and say no more than its name.
const VAGUE: f64 = 1000.0;

/// A value as it stands in the database.
#[derive(Debug)]
pub(super) enum Node<'a> {
    Text(&'a str),
    Number(f64),
    Bool(bool),
    Map(Vec<(&'a str, Node<'a>)>),
    /// What none of our fields could be.
    Other,
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(text))
    }

    fn visit_str<E>(self, _: &str) -> Result<Node<'de>, E> {
        Ok(Node::Other)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Node<'de>, E> {
        Ok(Node::Other)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(value))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node<'de>, E> {
        Ok(Node::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node<'de>, E> {
        Ok(Node::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node<'de>, E> {
        Ok(Node::Number(number as f64))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Node<'de>, E> {
        Ok(Node::Number(number as f64))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node<'de>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node<'de>, A::Error> {
        let mut all = Vec::new();
        while let Some(name) = entries.next_key()? {
            // most of a record is what things are called in eight languages
            if is_wanted(name) {
                all.push((name, entries.next_value()?));
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Node::Map(all))
    }
}

/// Whether anything below asks for an entry of this name.
fn is_wanted(name: &str) -> bool {
    let place = ["country", "iso_code", "country_code", "city", "names", "en", "name", "location"];
    let point = ["latitude", "longitude", "accuracy_radius", "lat", "lng", "lon", "radius"];
    let network = ["autonomous_system_number", "asn", "traits", "anonymizer", "vpn", "proxy", "tor"];
    name.starts_with("is_") || [&place[..], &point, &network].iter().any(|names| names.contains(&name))
}

impl<'a> Node<'a> {
    fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| match node {
            Self::Map(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        })
    }

    fn text(&self, paths: &[&[&str]]) -> Option<&'a str> {
        paths.iter().find_map(|path| match self.at(path) {
            Some(Self::Text(text)) if !text.is_empty() => Some(*text),
            _ => None,
        })
    }

    fn number(&self, paths: &[&[&str]]) -> Option<f64> {
        paths.iter().find_map(|path| match self.at(path)? {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        })
    }

    fn truth(&self, path: &[&str]) -> Option<bool> {
        match self.at(path)? {
            Self::Bool(value) => Some(*value),
            Self::Number(number) => Some(*number != 0.0),
            Self::Text(text) => Some(matches!(*text, "true" | "1")),
            _ => None,
        }
    }
}

/// What a record says that events have fields for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Facts {
    pub country: Option<Text>,
    pub city: Option<Text>,
    /// Latitude and longitude, degrees.
    pub place: Option<(f64, f64)>,
    pub asn: Option<i64>,
    pub proxy: Option<bool>,
    pub vpn: Option<bool>,
}

impl Facts {
    /// Of a record. What has no country has no place: makers write zeros and dashes for what they do not know.
    pub fn of(record: &Node<'_>) -> Self {
        let country = record.text(&[&["country", "iso_code"], &["country_code"], &["country"]]);
        let country = country.filter(|code| is_country(code)).map(|code| Text::from(code.to_ascii_uppercase()));
        let city = record.text(&[&["city", "names", "en"], &["city", "name"], &["city"]]);
        let city = city.filter(|city| country.is_some() && city.len() <= LONGEST_CITY && *city != "-");
        let lat = record.number(&[&["location", "latitude"], &["latitude"], &["lat"]]);
        let long = record.number(&[&["location", "longitude"], &["longitude"], &["lng"], &["lon"]]);
        let radius = record.number(&[&["location", "accuracy_radius"], &["radius"]]).unwrap_or(0.0);
        let place = lat.zip(long).filter(|(lat, long)| {
            let possible =
                (-90.0..=90.0).contains(lat) && (-180.0..=180.0).contains(long) && (*lat, *long) != (0.0, 0.0);
            possible && radius < VAGUE && country.is_some()
        });
        Self { city: city.map(Text::from), place, asn: asn(record), proxy: proxy(record), vpn: vpn(record), country }
    }
}

fn asn(record: &Node<'_>) -> Option<i64> {
    let named = || record.text(&[&["asn"]])?.strip_prefix("AS")?.parse().ok();
    let number = record.number(&[&["autonomous_system_number"], &["traits", "autonomous_system_number"], &["asn"]]);
    let whole = |n: f64| n.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&n);
    number.or_else(named).filter(|n| whole(*n)).map(|n| n as i64)
}

/// Whether any of these is true. None of them is there: false in a record that says that it is about anonymity, else
/// unknown.
fn any(record: &Node<'_>, names: &[&[&str]]) -> Option<bool> {
    let about = [&["is_anonymous"][..], &["traits", "is_anonymous"], &["anonymizer", "is_anonymous"]];
    let said = names.iter().chain(&about[..]).any(|path| record.truth(path).is_some());
    said.then(|| names.iter().any(|path| record.truth(path) == Some(true)))
}

fn vpn(record: &Node<'_>) -> Option<bool> {
    let name = "is_anonymous_vpn";
    any(record, &[&[name], &["traits", name], &["anonymizer", name], &["vpn"], &["is_vpn"]])
}

/// Tor's exits and rented private lines are proxies too: whoever comes from there is elsewhere.
fn proxy(record: &Node<'_>) -> Option<bool> {
    let (public, rented, tor) = ("is_public_proxy", "is_residential_proxy", "is_tor_exit_node");
    any(
        record,
        &[
            &[public],
            &[rented],
            &[tor],
            &["traits", public],
            &["traits", rented],
            &["traits", tor],
            &["traits", "is_anonymous_proxy"],
            &["anonymizer", public],
            &["anonymizer", rented],
            &["anonymizer", tor],
            &["proxy"],
            &["tor"],
            &["is_proxy"],
        ],
    )
}
