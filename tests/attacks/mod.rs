//! Events that make every shipped rule fire, for tests of what alerts look like.

use authseal::event::{Activity, AuthEvent, Factor, Micros, Outcome, UserKind};

/// Attacks of two minutes from `start` (microseconds), and two events of long before that they build on. In the order
/// of their times.
pub fn catalogue(start: i64) -> Vec<AuthEvent> {
    let mut plan = Plan { start, events: Vec::new() };
    passwords(&mut plan);
    factors(&mut plan);
    sessions(&mut plan);
    accounts(&mut plan);
    plan.events.sort_by_key(|event| event.time);
    plan.events
}

struct Plan {
    start: i64,
    events: Vec<AuthEvent>,
}

impl Plan {
    /// An event so many seconds after the start.
    fn add(&mut self, at: i64, activity: Activity, outcome: Outcome, user: &str, ip: &str) -> &mut AuthEvent {
        let number = self.events.len();
        self.events.push(AuthEvent {
            event_id: format!("attack-{number}").into(),
            time: Micros(self.start + at * 1_000_000),
            source: "okta".into(),
            tenant: Some("acme".into()),
            activity,
            outcome,
            user: Some(user.into()),
            src_ip: Some(ip.into()),
            ..AuthEvent::default()
        });
        &mut self.events[number]
    }

    fn failed(&mut self, at: i64, user: &str, ip: &str) -> &mut AuthEvent {
        self.add(at, Activity::Logon, Outcome::Failure, user, ip)
    }
}

fn passwords(plan: &mut Plan) {
    for n in 0..60 {
        plan.failed(n, &format!("stuffed{n}"), "203.0.113.7"); // AUTH-0001
        plan.failed(n, &format!("sprayed{}", n % 12), "2001:db8::1:2"); // AUTH-0002
        plan.failed(n, "root", "192.0.2.66"); // AUTH-0004, AUTH-0007
        // AUTH-0003, AUTH-0010
        plan.add(n, Activity::AccountLock, Outcome::Success, &format!("locked{}", n % 20), "::ffff:192.0.2.1");
        // AUTH-0005, AUTH-0006
        plan.failed(n, &format!("spread{n}"), &format!("198.51.100.{n}")).user_agent = Some("tool".into());
        plan.failed(n, "target", &format!("198.51.101.{n}"));
    }
    plan.add(70, Activity::Logon, Outcome::Success, "stuffed1", "203.0.113.7"); // AUTH-0009
}

fn factors(plan: &mut Plan) {
    for n in 0..12 {
        let ask = |event: &mut AuthEvent, factor: Factor, reason: &str| {
            event.factor = factor;
            event.reason = Some(reason.into());
            event.session = Some("asked".into());
        };
        let challenge = Activity::MfaChallenge;
        // AUTH-0012, AUTH-0015
        let push = plan.add(n, challenge, Outcome::Failure, "tired", &format!("192.0.2.{}", n % 2));
        ask(push, Factor::Push, "mfa_denied");
        push.country = Some(["DE", "BR"][n as usize % 2].into());
        let left = plan.add(n, challenge, Outcome::Failure, &format!("left{n}"), "192.0.2.13"); // AUTH-0013
        ask(left, Factor::Push, "mfa_timeout");
        left.session = None;
        let guess = plan.add(n, challenge, Outcome::Failure, "guessed", "192.0.2.14"); // AUTH-0014
        ask(guess, Factor::Otp, "invalid_credentials");
    }
}

fn sessions(plan: &mut Plan) {
    for n in 0..4_usize {
        // AUTH-0016, AUTH-0017, AUTH-0020
        let ip = format!("198.18.0.{}", n % 2);
        let used = plan.add(n as i64, Activity::ResourceAccess, Outcome::Success, "copied", &ip);
        used.session = Some("copied".into());
        used.device_token = Some(format!("token{n}").into());
        used.country = Some(["DE", "BR"][n % 2].into());
        used.user_agent = Some(["Mozilla/5.0 (X11) Firefox/145.0", "Opera/9.80"][n % 2].into());
        // AUTH-0019
        let refresh = plan.add(n as i64, Activity::TokenRefresh, Outcome::Failure, "reused", &ip);
        refresh.token_family = Some("family".into());
        refresh.reason = Some("token_reused".into());
    }
    // AUTH-0018
    let logon = plan.add(0, Activity::Logon, Outcome::Success, "replayed", "198.18.1.1");
    logon.root_session = Some("root".into());
    logon.user_agent = Some("Mozilla/5.0 Firefox/145.0".into());
    let replay = plan.add(9, Activity::TokenIssue, Outcome::Success, "replayed", "198.18.1.2");
    replay.root_session = Some("root".into());
    replay.user_agent = Some("curl/8.9".into());
    // AUTH-0008
    let act = plan.add(9, Activity::PrivilegedAction, Outcome::Success, "hasty", "198.18.1.3");
    act.action = Some("payout.create".into());
}

fn accounts(plan: &mut Plan) {
    // AUTH-0011, AUTH-0023
    for (at, lat, device) in [(0, 52.5, "laptop"), (9, -33.9, "phone")] {
        let logon = plan.add(at, Activity::Logon, Outcome::Success, "traveller", "198.18.2.1");
        (logon.lat, logon.long, logon.device) = (Some(lat), Some(13.4), Some(device.into()));
        logon.user_kind = UserKind::Person;
    }
    // AUTH-0024
    for at in [-61 * 86_400, 9] {
        plan.add(at, Activity::Logon, Outcome::Success, "dormant", "198.18.2.2");
    }
    // AUTH-0021
    let grant = plan.add(9, Activity::PrivilegeGrant, Outcome::Success, "promoted", "198.18.2.3");
    grant.actor = Some("promoted".into());
    grant.privileges = vec!["org_admin".into()];
    // AUTH-0022
    for activity in [Activity::PasswordReset, Activity::MfaRemove] {
        plan.add(9, activity, Outcome::Success, "reset", "198.18.2.4").actor = Some("desk".into());
    }
    // AUTH-0025
    for n in 0..5 {
        let act = plan.add(9, Activity::Impersonate, Outcome::Success, &format!("customer{n}"), "198.18.2.5");
        act.actor = Some("support".into());
    }
}
