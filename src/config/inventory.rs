//! `[inventory]`: sources that should be heard.

use super::{
    Roles,
    check::Check,
    settings::{InventorySettings, UnknownName},
};
use crate::detect::Expected;
use std::{collections::HashSet, time::Duration};

/// Every commit says when each of them was heard, in at most 4 KiB of metadata.
const MOST: usize = 100;
const LONGEST: usize = 256;

/// Sources that should be heard.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Which, and for how long each may be silent.
    pub expected: Vec<Expected>,
    /// Whether a source that is not among them is told.
    pub tell_unknown: bool,
}

pub(super) fn resolve(settings: InventorySettings, roles: Roles, check: &mut Check<'_>) -> Inventory {
    let tell_unknown = settings.unknown.unwrap_or_default() == UnknownName::Alert;
    if tell_unknown && settings.sources.is_empty() {
        check.wrong("inventory.unknown", "needs [[inventory.sources]]: without any, every source is unknown");
    }
    if settings.sources.len() > MOST {
        check.wrong("inventory.sources", format!("lists {} sources, more than {MOST}", settings.sources.len()));
    }
    if !roles.detect && !settings.sources.is_empty() {
        check.warn("inventory: this process does not judge (roles), so that it tells no silent source");
    }
    let (mut seen, mut expected) = (HashSet::new(), Vec::new());
    for (place, source) in settings.sources.into_iter().enumerate() {
        let setting = |name: &str| format!("inventory.sources.{place}.{name}");
        for (name, text) in
            [("name", &source.name), ("tenant", &source.tenant), ("owner", &source.owner), ("runbook", &source.runbook)]
        {
            if text.as_ref().is_some_and(|text| text.trim().is_empty() || text.len() > LONGEST) {
                check.wrong(&setting(name), format!("must be 1 to {LONGEST} bytes of text"));
            }
        }
        let Some(name) = source.name else {
            check.missing(&setting("name"), "the `source` of its events, such as okta");
            continue;
        };
        if source.max_silence.is_none() {
            check.missing(&setting("max_silence"), "for how long it may be silent, such as \"30m\"");
        }
        let max_silence = check.duration(&setting("max_silence"), source.max_silence, Duration::from_secs(3600));
        if !seen.insert((name.clone(), source.tenant.clone())) {
            check.wrong(&setting("name"), format!("{name:?} is listed twice"));
        }
        let (owner, runbook) = (source.owner.unwrap_or_default(), source.runbook.unwrap_or_default());
        expected.push(Expected { name, tenant: source.tenant, max_silence, owner, runbook });
    }
    Inventory { expected, tell_unknown }
}
