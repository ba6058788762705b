//! `store.json`: the first object of a store. It binds the store to one origin, so that two cannot share a prefix by
//! accident.

use super::{Put, Store, put_new};
use crate::{
    error::{Error, Result},
    layout::STORE_JSON,
    retention::Retention,
    store_info::StoreInfo,
};
use bytes::Bytes;

/// Creates `store.json` for `origin`, or reads the one that is there. Another origin is refused, by name.
///
/// `now` is in milliseconds since 1970. If several instances start at once, one creates it and all read the same.
pub async fn claim(store: &dyn Store, origin: &str, now: i64) -> Result<StoreInfo> {
    let ours = StoreInfo::new(origin, now);
    let place = || format!("{}/{STORE_JSON}", store.describe());
    let line = Bytes::from(ours.line()?);
    let found = match put_new(store, STORE_JSON, line, &Retention::NONE).await.map_err(|e| e.context(place()))? {
        Put::Ours(_) => return Ok(ours),
        Put::Taken(stored) => parse(&stored.bytes).map_err(|e| e.context(place()))?,
        Put::Marker => {
            return Err(Error::tampered(format!("{} was deleted: nothing but a delete marker is left of it", place())));
        }
    };
    if found.origin != origin {
        return Err(Error::config(format!(
            "{} belongs to origin {:?}, and this instance is {origin:?}: \
             set the same origin, or use another bucket or prefix",
            store.describe(),
            found.origin
        )));
    }
    Ok(found)
}

fn parse(bytes: &[u8]) -> Result<StoreInfo> {
    let text = std::str::from_utf8(bytes).map_err(|e| Error::data("store.json is not UTF-8").caused_by(e))?;
    StoreInfo::parse(text).map_err(|fault| Error::data(fault.detail))
}
