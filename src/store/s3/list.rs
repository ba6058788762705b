//! Listing versions: the only view of a bucket in which nothing hides behind a newer version or a delete marker.

use super::{S3Store, errors::reply};
use crate::{
    error::{Error, Result},
    store::{Entry, Version, Versions},
};
use aws_sdk_s3::types::EncodingType;
use std::collections::{BTreeMap, BTreeSet};

/// The most that S3 returns in one answer.
const PAGE: usize = 1000;

/// Where a page ends and the next begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Marker {
    key: Option<String>,
    version: Option<String>,
}

/// One answer. Keys are without the store's prefix; of one key, newer versions come first.
#[derive(Debug, Default)]
struct Page {
    held: Vec<(String, Version)>,
    markers: Vec<(String, String)>,
    folders: Vec<String>,
    next: Option<Marker>,
}

impl Page {
    fn last_key(&self) -> Option<&str> {
        let held = self.held.last().map(|(key, _)| key.as_str());
        held.max(self.markers.last().map(|(key, _)| key.as_str()))
    }
}

impl S3Store {
    pub(super) async fn list_entries(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        let mut found: BTreeMap<String, Entry> = BTreeMap::new();
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut marker = Marker { key: after.map(|after| self.full_key(after)), version: None };
        loop {
            // one more than asked for: a key is complete once the next one is seen
            let page = self.page(prefix, None, &marker, limit.saturating_sub(found.len()).saturating_add(1)).await?;
            let entry =
                |key: &str| Entry { key: key.to_owned(), versions: 0, markers: 0, size: 0, oldest: String::new() };
            // servers differ in whether a page begins after its marker or at it
            let wanted = |key: &str| after.is_none_or(|after| key > after);
            for (key, version) in page.held.into_iter().filter(|(key, _)| wanted(key)) {
                let entry = found.entry(key).or_insert_with_key(|key| entry(key));
                entry.versions += 1;
                // the later in the list, the older: equal times of modification do not matter
                entry.size = version.size;
                entry.oldest = version.id;
            }
            for (key, _) in page.markers.into_iter().filter(|(key, _)| wanted(key)) {
                found.entry(key).or_insert_with_key(|key| entry(key)).markers += 1;
            }
            match page.next {
                Some(next) if found.len() <= limit => marker = self.advance(&marker, next)?,
                _ => break,
            }
        }
        Ok(found.into_values().take(limit).collect())
    }

    pub(super) async fn list_versions(&self, key: &str) -> Result<Versions> {
        let mut versions = Versions::default();
        let mut marker = Marker::default();
        loop {
            // the key itself is the first of all that begin with it
            let page = self.page(key, None, &marker, PAGE).await?;
            let beyond = page.last_key().is_some_and(|last| last > key);
            versions.held.extend(page.held.into_iter().filter(|(k, _)| k == key).map(|(_, version)| version));
            versions.markers.extend(page.markers.into_iter().filter(|(k, _)| k == key).map(|(_, id)| id));
            match page.next {
                Some(next) if !beyond => marker = self.advance(&marker, next)?,
                _ => break,
            }
        }
        versions.held.reverse();
        versions.markers.reverse();
        Ok(versions)
    }

    pub(super) async fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        let mut folders = BTreeSet::new();
        let mut marker = Marker::default();
        loop {
            let page = self.page(prefix, Some("/"), &marker, PAGE).await?;
            folders.extend(page.folders);
            match page.next {
                Some(next) => marker = self.advance(&marker, next)?,
                None => break,
            }
        }
        Ok(folders.into_iter().collect())
    }

    /// A server that repeats itself would keep us here for ever.
    fn advance(&self, from: &Marker, to: Marker) -> Result<Marker> {
        if to.key.is_none() || to == *from || to.key < from.key {
            return Err(Error::retry(format!(
                "{}: listing versions: the server's pages do not advance",
                self.settings
            )));
        }
        Ok(to)
    }

    async fn page(&self, prefix: &str, delimiter: Option<&str>, from: &Marker, most: usize) -> Result<Page> {
        let full = self.full_key(prefix);
        let request = self
            .client
            .list_object_versions()
            .bucket(&self.settings.bucket)
            // keys that XML cannot hold would make the whole answer unreadable
            .encoding_type(EncodingType::Url)
            .prefix(&full)
            .set_delimiter(delimiter.map(str::to_owned))
            .set_key_marker(from.key.clone())
            .set_version_id_marker(from.version.clone())
            .max_keys(most.clamp(2, PAGE) as i32);
        let answer = request.send().await.map_err(|e| {
            let doing = format!("{}: listing versions under {prefix:?}", self.settings);
            reply(&e).error(&doing, "s3:ListBucketVersions on the bucket")
        })?;
        let encoded = answer.encoding_type == Some(EncodingType::Url);
        let text = |text: &str| if encoded { decode(text, true) } else { text.to_owned() };
        let key = |key: Option<&str>| -> Result<String> {
            let key = text(key.unwrap_or_default());
            let own = key.strip_prefix(&full).and_then(|_| key.get(self.root.len()..)).map(str::to_owned);
            own.ok_or_else(|| {
                Error::data(format!("{}: listing {prefix:?} returned the foreign key {key:?}", self.settings))
            })
        };
        let mut page = Page::default();
        for version in answer.versions() {
            let id = version.version_id().unwrap_or("null").to_owned();
            let size = version.size().unwrap_or(0).max(0) as u64;
            page.held.push((key(version.key())?, Version { id, size }));
        }
        for marker in answer.delete_markers() {
            page.markers.push((key(marker.key())?, marker.version_id().unwrap_or("null").to_owned()));
        }
        for folder in answer.common_prefixes() {
            page.folders.push(key(folder.prefix())?);
        }
        if answer.is_truncated == Some(true) {
            let version = answer.next_version_id_marker().filter(|version| !version.is_empty()).map(str::to_owned);
            page.next = Some(Marker { key: answer.next_key_marker().map(text), version });
        }
        Ok(page)
    }
}

/// Undoes percent-encoding; `plus` stands for a space in the keys that S3 encodes. What is not encoded well stays as it
/// is.
pub(crate) fn decode(text: &str, plus: bool) -> String {
    let digit = |c: Option<&u8>| c.and_then(|c| (*c as char).to_digit(16));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match (byte, digit(bytes.get(at)), digit(bytes.get(at + 1))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) if plus => out.push(b' '),
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn keys_are_decoded_as_s3_encodes_them() {
        for (encoded, key) in [
            ("chains/main/a-b_c.d", "chains/main/a-b_c.d"),
            ("a%2Bb+c%20d", "a+b c d"),
            ("%C3%A4%01", "ä\u{1}"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("", ""),
        ] {
            assert_eq!(decode(encoded, true), key, "{encoded}");
        }
        assert_eq!(decode("a+b", false), "a+b");
    }
}
