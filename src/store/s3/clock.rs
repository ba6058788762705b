//! The store's clock: the `Date` header of its answers.

use aws_sdk_s3::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextRef},
    error::BoxError,
    primitives::{DateTime, DateTimeFormat},
};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// An answer that is younger tells the time well enough: our own monotonic clock does not drift by seconds in it.
const FRESH: Duration = Duration::from_secs(30);

/// Keeps the `Date` of the newest answer, whatever it answered.
#[derive(Debug, Clone, Default)]
pub(super) struct DateKeeper {
    newest: Arc<Mutex<Option<(Instant, i64)>>>,
}

impl DateKeeper {
    /// The store's time now, in milliseconds since 1970, if it answered anything lately.
    pub fn now(&self) -> Option<i64> {
        let newest = *self.newest.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (heard, date) = newest?;
        let age = heard.elapsed();
        (age <= FRESH).then(|| date.saturating_add(age.as_millis() as i64))
    }

    fn hear(&self, header: &str) {
        // a server without a readable date has no clock; nothing else depends on it
        let date = DateTime::from_str(header, DateTimeFormat::HttpDate).ok().and_then(|date| date.to_millis().ok());
        if let Some(date) = date {
            *self.newest.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some((Instant::now(), date));
        }
    }
}

impl Intercept for DateKeeper {
    fn name(&self) -> &'static str {
        "DateKeeper"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.hear(date);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_readable_date_counts() {
        let keeper = DateKeeper::default();
        assert_eq!(keeper.now(), None);
        keeper.hear("yesterday");
        assert_eq!(keeper.now(), None);
        keeper.hear("Sun, 06 Nov 1994 08:49:37 GMT");
        let now = keeper.now().unwrap();
        assert!((784_111_777_000..784_111_778_000).contains(&now), "{now}");
        keeper.hear("nonsense");
        assert!(keeper.now().is_some());
    }
}
