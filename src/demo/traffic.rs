//! The demo's traffic: a morning of logons from four systems, with a credential-stuffing attack, a payout without
//! step-up, a stolen session, a lockout storm, and the odd broken record in it. The same seed makes the same events.

use crate::event::{Activity, AuthEvent, Factor, Micros, Outcome, Text, UserKind, Verification};
use serde_json::json;

/// The topic of the modern systems: bare Avro, canonical schema.
pub const AVRO_TOPIC: &str = "auth.events";
/// The topic of the old gateway: JSON.
pub const JSON_TOPIC: &str = "auth.gateway";
/// Partitions of each topic.
pub const PARTITIONS: i32 = 4;
/// The address from which the stuffing attack comes.
pub const STUFFING_IP: &str = "203.0.113.7";

/// The trace of the action that three systems tell of.
pub const TRACE: &str = "4f1d8a6c0b7e4d2f9a35c6e81b0d7f42";

const TENANT: &str = "acme";
const USERS: u64 = 4_000;
/// An action over several systems, and the attacks, begin at these fractions of the traffic.
const ACTION_AT: f64 = 0.3;
const STUFFING_AT: f64 = 0.35;
const BYPASS_AT: f64 = 0.55;
const THEFT_AT: f64 = 0.6;
const STORM_AT: f64 = 0.65;
/// One record in so many from the gateway is broken.
const BROKEN_EVERY: u64 = 997;

/// A value to publish.
pub enum Value {
    /// To be encoded as the canonical Avro record.
    Event(Box<AuthEvent>),
    /// Bytes as they are.
    Bytes(Vec<u8>),
}

/// A record to publish.
pub struct Produced {
    /// Topic.
    pub topic: &'static str,
    /// Key: the user, as most producers do.
    pub key: String,
    /// Value.
    pub value: Value,
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

/// A stream of `total` records that ends at `until` (milliseconds since 1970).
pub struct Traffic {
    total: u64,
    next: u64,
    began: i64,
    step_micros: i64,
    random: u64,
    action: Burst,
    stuffing: Burst,
    bypass: Burst,
    theft: Burst,
    storm: Burst,
}

/// A run of attack events among the others.
struct Burst {
    from: u64,
    every: u64,
    count: u64,
}

impl Burst {
    /// The number of the attack event at place `at`, if there is one.
    fn at(&self, at: u64) -> Option<u64> {
        let since = at.checked_sub(self.from)?;
        (since % self.every == 0 && since / self.every < self.count).then_some(since / self.every)
    }
}

impl Traffic {
    /// `total` records over the 40 minutes before `until`.
    pub fn new(total: u64, until: i64) -> Self {
        let span_millis = 40 * 60 * 1000;
        let burst = |at: f64, count: u64, minutes: u64| {
            let (from, room) = ((total as f64 * at) as u64, total * minutes / 40);
            Burst { from, every: (room / count).max(1), count: count.min(room) }
        };
        Self {
            total,
            next: 0,
            began: until - span_millis,
            step_micros: span_millis * 1000 / total.max(1) as i64,
            random: 0x5eed_0fa0_7e5e_a100,
            action: burst(ACTION_AT, 4, 1),
            stuffing: burst(STUFFING_AT, 240, 6),
            bypass: burst(BYPASS_AT, 3, 1),
            theft: burst(THEFT_AT, 4, 1),
            storm: burst(STORM_AT, 60, 3),
        }
    }

    /// A pseudo-random number below `n` (splitmix64).
    fn below(&mut self, n: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }

    fn base(&self, at: u64, source: &str, user: String) -> AuthEvent {
        let micros = self.began * 1000 + at as i64 * self.step_micros;
        AuthEvent {
            event_id: format!("{source}-{at:08x}").into(),
            time: Micros(micros),
            source: source.into(),
            tenant: Some(TENANT.into()),
            activity: Activity::Logon,
            outcome: Outcome::Success,
            user: Some(user.into()),
            user_kind: UserKind::Person,
            factor: Factor::Password,
            verification: Verification::Verified,
            ..AuthEvent::default()
        }
    }

    /// Somebody's ordinary day.
    fn ordinary(&mut self, at: u64) -> AuthEvent {
        let user = self.below(USERS) * self.below(USERS) / USERS; // a few are busy, most are not
        let source = ["okta", "okta", "keycloak", "sshd", "gateway"][self.below(5) as usize];
        let mut event = self.base(at, source, format!("user{user:04}"));
        event.src_ip = Some(format!("10.{}.{}.{}", user >> 8 & 15, user & 255, 1 + self.below(3)).into());
        // a person has a session at a time, and another one every twenty minutes
        let part = at * 2 / self.total.max(1);
        event.session = Some(format!("s-{user:04x}-{part}").into());
        event.country = Some(Text::from(["DE", "NL", "CH", "US"][(user % 4) as usize]));
        event.app = Some(Text::from(["portal", "payroll", "crm", "bastion"][self.below(4) as usize]));
        event.protocol = Some(Text::from(if source == "sshd" { "ssh" } else { "oidc" }));
        event.user_agent = (source != "sshd").then(|| "Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0".into());
        event.device = Some(format!("dev-{user:04x}").into());
        match self.below(100) {
            0..=2 => fail(&mut event, "invalid_credentials"),
            3..=12 => (event.activity, event.factor, event.is_mfa) = (Activity::MfaChallenge, Factor::Push, Some(true)),
            13..=32 => event.activity = Activity::TokenRefresh,
            33..=42 => event.activity = Activity::Logoff,
            _ => {}
        }
        event
    }

    /// One try of the attack: many accounts, one or two tries each; the last one gets in.
    fn stuffing(&self, at: u64, n: u64) -> AuthEvent {
        let mut event = self.base(at, "okta", format!("user{:04}", 1000 + n / 2));
        event.src_ip = Some(STUFFING_IP.into());
        event.user_agent = Some("python-requests/2.32".into());
        event.country = Some("RU".into());
        event.app = Some("portal".into());
        if n + 1 < self.stuffing.count {
            fail(&mut event, if n.is_multiple_of(3) { "unknown_user" } else { "invalid_credentials" });
        }
        event
    }

    /// A payout as the gateway, the identity provider and the application tell it: asked for, stepped up, done.
    fn action(&self, at: u64, n: u64) -> AuthEvent {
        let source = ["gateway", "keycloak", "payroll", "gateway"][n as usize % 4];
        let mut event = self.base(at, source, "user3003".to_string());
        (event.activity, event.action) = (Activity::ResourceAccess, Some("POST /payouts".into()));
        match n {
            0 => {
                event.outcome = Outcome::Failure;
                event.reason = Some("step_up_required".into());
            }
            1 => {
                (event.activity, event.action) = (Activity::StepUp, None);
                (event.acr, event.factor) = (Some(2), Factor::Webauthn);
            }
            2 => (event.activity, event.action) = (Activity::PrivilegedAction, Some("payout.create".into())),
            _ => {}
        }
        event.src_ip = Some("10.11.187.1".into());
        event.session = Some("s-0bb3-the-action".into());
        event.device = Some("dev-0bb3".into());
        event.trace_id = Some(TRACE.into());
        event.app = Some("payroll".into());
        event
    }

    fn lockout(&self, at: u64, n: u64) -> AuthEvent {
        let mut event = self.base(at, "keycloak", format!("user{:04}", 2000 + n));
        event.activity = Activity::AccountLock;
        event.reason = Some("too_many_failures".into());
        event.src_ip = Some(format!("198.51.100.{}", 1 + n % 200).into());
        event
    }

    /// A step-up and a payout, as it should be; and a payout in a session without one.
    fn payout(&self, at: u64, n: u64) -> AuthEvent {
        let mut event = self.base(at, "keycloak", format!("user300{}", n / 2));
        event.session = Some(format!("s-payout-{}", n / 2).into());
        event.device = Some("dev-payout".into());
        event.app = Some("payroll".into());
        if n == 0 {
            (event.activity, event.acr, event.factor) = (Activity::StepUp, Some(2), Factor::Webauthn);
        } else {
            (event.activity, event.action) = (Activity::PrivilegedAction, Some("payout.create".into()));
        }
        event
    }

    /// A session that goes on in another place with another browser.
    fn stolen(&self, at: u64, n: u64) -> AuthEvent {
        let mut event = self.base(at, "keycloak", "user3002".to_string());
        event.activity = Activity::ResourceAccess;
        event.session = Some("s-stolen".into());
        event.app = Some("payroll".into());
        let (ip, country, agent) = match n {
            0 | 1 => ("10.11.185.1", "NL", "Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0"),
            _ => ("203.0.113.99", "BR", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0"),
        };
        event.src_ip = Some(ip.into());
        event.country = Some(country.into());
        event.user_agent = Some(agent.into());
        event
    }

    /// What an old gateway sends on a bad day.
    fn broken(&mut self, at: u64) -> Vec<u8> {
        let time = timestamp_text(self.began * 1000 + at as i64 * self.step_micros);
        match self.below(4) {
            0 => br#"{"time": "2026-"#.to_vec(),
            1 => json!({"time": time, "activity": "LOGON"}).to_string().into_bytes(),
            2 => json!({"time": "3999-01-01T00:00:00Z", "user": "user0001"}).to_string().into_bytes(),
            _ => json!({"time": time, "user": "user0002", "face_image": "not to be kept"}).to_string().into_bytes(),
        }
    }
}

impl Iterator for Traffic {
    type Item = Produced;

    fn next(&mut self) -> Option<Produced> {
        let at = self.next;
        if at >= self.total {
            return None;
        }
        self.next += 1;
        let timestamp = self.began + (at as i64 * self.step_micros) / 1000;
        if at % BROKEN_EVERY == BROKEN_EVERY - 1 {
            let value = Value::Bytes(self.broken(at));
            return Some(Produced { topic: JSON_TOPIC, key: format!("gw-{}", at % 7), value, timestamp });
        }
        let event = if let Some(n) = self.action.at(at) {
            self.action(at, n)
        } else if let Some(n) = self.stuffing.at(at) {
            self.stuffing(at, n)
        } else if let Some(n) = self.bypass.at(at) {
            self.payout(at, n)
        } else if let Some(n) = self.theft.at(at) {
            self.stolen(at, n)
        } else if let Some(n) = self.storm.at(at) {
            self.lockout(at, n)
        } else {
            self.ordinary(at)
        };
        let key = event.user.as_deref().unwrap_or_default().to_string();
        let (topic, value) = if event.source == "gateway" {
            (JSON_TOPIC, Value::Bytes(as_json(&event)))
        } else {
            (AVRO_TOPIC, Value::Event(Box::new(event)))
        };
        Some(Produced { topic, key, value, timestamp })
    }
}

fn fail(event: &mut AuthEvent, reason: &str) {
    event.outcome = Outcome::Failure;
    event.verification = Verification::Rejected;
    event.reason = Some(reason.into());
    event.session = None;
}

/// The canonical JSON form of the fields that the gateway knows.
fn as_json(event: &AuthEvent) -> Vec<u8> {
    json!({
        "event_id": event.event_id.as_str(), "time": timestamp_text(event.time.0), "source": event.source.as_str(),
        "tenant": event.tenant.as_deref(), "activity": event.activity.symbol(), "outcome": event.outcome.symbol(),
        "reason": event.reason.as_deref(), "user": event.user.as_deref(), "src_ip": event.src_ip.as_deref(),
        "session": event.session.as_deref(), "app": event.app.as_deref(), "factor": event.factor.symbol(),
        "verification": event.verification.symbol(), "device": event.device.as_deref(),
        "action": event.action.as_deref(),
        "traceparent": event.trace_id.as_ref().map(|trace| format!("00-{trace}-00f067aa0ba902b7-01")),
    })
    .to_string()
    .into_bytes()
}

fn timestamp_text(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_day_with_its_attacks_in_it() {
        let until = 1_767_225_600_000;
        let events = |n| -> Vec<AuthEvent> {
            Traffic::new(n, until)
                .filter_map(|p| if let Value::Event(event) = p.value { Some(*event) } else { None })
                .collect()
        };
        for total in [2_000, 50_000] {
            let day = events(total);
            assert_eq!(day, events(total));
            let stuffing: Vec<_> = day.iter().filter(|e| e.src_ip.as_deref() == Some(STUFFING_IP)).collect();
            assert!(stuffing.len() >= 120, "{} of {total}", stuffing.len());
            assert_eq!(stuffing.last().map(|e| e.outcome), Some(Outcome::Success), "the last try gets in");
            assert!(day.iter().filter(|e| e.activity == Activity::AccountLock).count() >= 40);
            let of = |activity: Activity| day.iter().filter(|e| e.activity == activity).count();
            assert_eq!((of(Activity::StepUp), of(Activity::PrivilegedAction)), (2, 3), "one of three payouts lacks it");
            let stolen = day.iter().filter(|e| e.session.as_deref() == Some("s-stolen"));
            assert_eq!(
                stolen.map(|e| e.country.as_deref().unwrap_or("?")).collect::<Vec<_>>(),
                ["NL", "NL", "BR", "BR"]
            );
            assert!(day.iter().all(|e| e.time.millis() < until));
        }
        assert_eq!(Traffic::new(50_000, until).count(), 50_000);
    }
}
