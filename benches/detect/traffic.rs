//! Made-up traffic, the same at each run: people at work, and attacks.

use authseal::{
    event::{Activity, AuthEvent, Factor, Micros, Outcome as Ended, UserKind},
    record::Outcome,
};

/// Milliseconds since 1970 at which traffic begins.
pub const START: i64 = 1_763_700_000_000;
/// People, of whom a few are busy and most are not.
pub const PEOPLE: u64 = 400_000;
/// Milliseconds from one event of a person to the next: twenty an hour. No more than a thousand events a second.
const PACE: u64 = 180_000;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// People at work: 55 of 100 events are logons that succeed, 3 are logons that fail, the rest is refreshed tokens
    /// (18), use (12), second factors (5), logoffs (4), and a little of everything.
    Ordinary,
    /// One source tries a list of accounts, one or two tries each.
    Stuffing,
    /// Twenty sources try 50,000 accounts, again and again.
    Spray,
    /// Every event fails for another account from another address: each is a fresh key of every rule that counts.
    Flood,
}

/// A stream of events, at the pace of so many people.
pub struct Traffic {
    kind: Kind,
    people: u64,
    /// How many there were.
    pub number: u64,
    random: u64,
}

impl Traffic {
    pub fn new(kind: Kind) -> Self {
        Self::among(kind, PEOPLE)
    }

    /// Of so many people.
    pub fn among(kind: Kind, people: u64) -> Self {
        Self { kind, people, number: 0, random: 0x5eed }
    }

    /// Milliseconds from one event to the next.
    pub fn pace(&self) -> i64 {
        (PACE / self.people).max(1) as i64
    }

    pub fn batch(&mut self, size: usize) -> Vec<Outcome> {
        (0..size).map(|_| Outcome::Event(Box::new(self.event()))).collect()
    }

    fn event(&mut self) -> AuthEvent {
        self.number += 1;
        let n = self.number;
        match self.kind {
            Kind::Ordinary => self.ordinary(),
            Kind::Stuffing => self.failed(n / 2 * 7919 % 3_000_000, 7),
            Kind::Spray => self.failed(n * 7919 % 50_000, n % 20),
            Kind::Flood => self.failed(n, n),
        }
    }

    /// A pseudo-random number below `n` (splitmix64).
    fn below(&mut self, n: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn base(&self, user: u64) -> AuthEvent {
        let n = self.number;
        AuthEvent {
            event_id: format!("7d3a1c52-0000-4000-8000-{n:012}").into(),
            time: Micros((START + n as i64 * self.pace()) * 1000),
            source: ["okta", "keycloak", "okta", "gateway"][(user % 4) as usize].into(),
            tenant: Some("acme".into()),
            user: Some(format!("user{user:06}@acme.example").into()),
            user_id: Some(format!("00u{user:09}").into()),
            user_kind: UserKind::Person,
            app: Some(["portal", "payroll", "crm", "mail"][(n % 4) as usize].into()),
            protocol: Some("oidc".into()),
            factor: Factor::Password,
            ..AuthEvent::default()
        }
    }

    fn ordinary(&mut self) -> AuthEvent {
        let people = self.people;
        let user = (self.below(people) + self.below(people) * self.below(people) / people) / 2;
        let mut event = self.base(user);
        // a person works from one place and browser for half an hour at least; one in twenty is on the way
        let part = self.number * self.pace() as u64 / 1_800_000;
        let way = if self.below(20) == 0 { 1 } else { 0 };
        event.src_ip = Some(format!("10.{}.{}.{}", 10 + (user >> 16), (user >> 8) & 255, user & 255).into());
        if way == 1 {
            event.src_ip = Some(format!("100.64.{}.{}", (user >> 8) & 255, user & 255).into());
        }
        event.src_asn = Some(64_500 + (user % 30) as i64 + 100 * way as i64);
        let place = [("DE", "Berlin", 52.5, 13.4), ("NL", "Utrecht", 52.1, 5.1), ("US", "Boston", 42.4, -71.1)];
        let (country, city, lat, long) = place[(user % 3) as usize];
        (event.country, event.city) = (Some(country.into()), Some(city.into()));
        (event.lat, event.long) = (Some(lat), Some(long + way as f64 / 10.0));
        let version = 120 + user % 12;
        event.user_agent = Some(
            format!(
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0"
            )
            .into(),
        );
        event.device = Some(format!("device-{user:06}").into());
        event.device_token = (event.source == "okta").then(|| format!("dt-{user:09}").into());
        let session = format!("s-{part:04}-{user:09}");
        (event.session, event.root_session) = (Some(session.as_str().into()), Some(session.into()));
        event.is_vpn = Some(false);
        let activity = self.below(200) / 2;
        (event.activity, event.outcome) = match activity {
            0..55 => (Activity::Logon, Ended::Success),
            55..58 => (Activity::Logon, Ended::Failure),
            58..76 => (Activity::TokenRefresh, Ended::Success),
            76..88 => (Activity::ResourceAccess, Ended::Success),
            88..93 => (Activity::MfaChallenge, Ended::Success),
            93..97 => (Activity::Logoff, Ended::Success),
            97 => (Activity::StepUp, Ended::Success),
            98 => (Activity::PrivilegedAction, Ended::Success),
            _ => {
                let rare = [Activity::TokenIssue, Activity::PasswordChange, Activity::AccountLock, Activity::MfaEnroll];
                (rare[self.below(4) as usize], Ended::Success)
            }
        };
        match event.activity {
            Activity::Logon if event.outcome == Ended::Failure => {
                event.reason = Some("invalid_credentials".into());
                (event.session, event.root_session) = (None, None);
            }
            Activity::TokenRefresh => {
                event.token_family = Some(format!("tf-{part}-{user}").into());
                event.client_id = Some("mobile-app".into());
            }
            Activity::MfaChallenge => (event.factor, event.is_mfa) = (Factor::Push, Some(true)),
            Activity::StepUp => (event.factor, event.acr) = (Factor::Webauthn, Some(2)),
            Activity::PrivilegedAction => event.action = Some("report.read".into()),
            _ => {}
        }
        event
    }

    fn failed(&self, user: u64, source: u64) -> AuthEvent {
        let mut event = self.base(user);
        event.activity = Activity::Logon;
        event.outcome = Ended::Failure;
        event.reason = Some(if user.is_multiple_of(3) { "unknown_user" } else { "invalid_credentials" }.into());
        event.src_ip = Some(
            format!("{}.{}.{}.{}", 60 + (source >> 24), (source >> 16) & 255, (source >> 8) & 255, source & 255).into(),
        );
        event.country = Some("BR".into());
        event.user_agent = Some("python-requests/2.32.3".into());
        event
    }
}
