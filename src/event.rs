//! The canonical authentication event: one struct, one table of its fields, used alike by the decoders, the rules
//! and the sealed format. The order of the fields is the order of `schemas/auth_event.avsc`, which is for ever.

use compact_str::CompactString;
use std::fmt;

/// A string of an event. Inlined up to 24 bytes, so that most events are decoded without an allocation a field.
pub type Text = CompactString;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    /// Whole milliseconds since 1970, rounded towards the past.
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

/// What a field holds, seen without its type: for rules, search and rendering.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// An optional field that is not set.
    Null,
    /// A string.
    Text(&'a str),
    /// The symbol of an enum field, in upper case.
    Symbol(&'static str),
    /// A whole number.
    Long(i64),
    /// A moment.
    Micros(Micros),
    /// A floating point number.
    Double(f64),
    /// A truth value.
    Bool(bool),
    /// An array of strings.
    Texts(&'a [Text]),
    /// A map of strings, sorted by the bytes of its keys.
    Map(&'a Attributes),
}

/// The type of a field, as in the Avro schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// string
    Text,
    /// ["null", string]
    OptText,
    /// long, timestamp-micros
    Micros,
    /// ["null", long timestamp-micros]
    OptMicros,
    /// ["null", long]
    OptLong,
    /// ["null", int]
    OptInt,
    /// ["null", double]
    OptDouble,
    /// ["null", boolean]
    OptBool,
    /// enum of these symbols; the default is named beside them
    Enum(&'static [&'static str], &'static str),
    /// array of string
    Texts,
    /// map of string
    Map,
}

/// A type that a field of [`AuthEvent`] can have.
pub trait FieldValue: Default {
    /// Its place among the field types.
    const TYPE: FieldType;
    /// What it holds.
    fn view(&self) -> Value<'_>;
    /// Where to put another value.
    fn slot(&mut self) -> Slot<'_>;
    /// Whether it says anything: it is there, not empty, and no default.
    #[inline]
    fn is_filled(&self) -> bool {
        match self.view() {
            Value::Null => false,
            Value::Text(text) => !text.is_empty(),
            Value::Texts(texts) => !texts.is_empty(),
            Value::Map(map) => !map.is_empty(),
            _ => true,
        }
    }
}

/// A field to be written, seen by its type: for decoders.
pub enum Slot<'a> {
    /// string
    Text(&'a mut Text),
    /// ["null", string]
    OptText(&'a mut Option<Text>),
    /// long, timestamp-micros
    Micros(&'a mut Micros),
    /// ["null", long timestamp-micros]
    OptMicros(&'a mut Option<Micros>),
    /// ["null", long]
    OptLong(&'a mut Option<i64>),
    /// ["null", int]
    OptInt(&'a mut Option<i32>),
    /// ["null", double]
    OptDouble(&'a mut Option<f64>),
    /// ["null", boolean]
    OptBool(&'a mut Option<bool>),
    /// An enum: written through its symbol or its number.
    Enum(&'a mut dyn SetSymbol),
    /// array of string
    Texts(&'a mut Vec<Text>),
    /// map of string
    Map(&'a mut Attributes),
}

/// An enum field to be written.
pub trait SetSymbol {
    /// Takes the value with this number on the wire; false, and nothing changes, if there is none.
    fn set_index(&mut self, index: usize) -> bool;
    /// Takes the value of a symbol, in any case; false, and nothing changes, if there is none.
    fn set_symbol(&mut self, symbol: &str) -> bool;
}

macro_rules! field_value {
    ($type:ty, $kind:ident, $self:ident => $view:expr) => {
        impl FieldValue for $type {
            const TYPE: FieldType = FieldType::$kind;
            fn view(&self) -> Value<'_> {
                let $self = self;
                $view
            }
            fn slot(&mut self) -> Slot<'_> {
                Slot::$kind(self)
            }
        }
    };
}

field_value!(Text, Text, s => Value::Text(s));
field_value!(Option<Text>, OptText, s => s.as_deref().map_or(Value::Null, Value::Text));
field_value!(Micros, Micros, s => Value::Micros(*s));
field_value!(Option<Micros>, OptMicros, s => s.map_or(Value::Null, Value::Micros));
field_value!(Option<i64>, OptLong, s => s.map_or(Value::Null, Value::Long));
field_value!(Option<i32>, OptInt, s => s.map_or(Value::Null, |n| Value::Long(n.into())));
field_value!(Option<f64>, OptDouble, s => s.map_or(Value::Null, Value::Double));
field_value!(Option<bool>, OptBool, s => s.map_or(Value::Null, Value::Bool));
field_value!(Vec<Text>, Texts, s => Value::Texts(s));
field_value!(Attributes, Map, s => Value::Map(s));

/// A map of strings, kept sorted by the bytes of its keys, each key once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(Vec<(Text, Text)>);

impl Attributes {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(k, _)| k.as_bytes().cmp(key.as_bytes())).ok()?;
        Some(&self.0[at].1)
    }

    /// Sets `key`; the value it had before is returned.
    pub fn insert(&mut self, key: impl Into<Text>, value: impl Into<Text>) -> Option<Text> {
        let (key, value) = (key.into(), value.into());
        match self.0.binary_search_by(|(k, _)| k.as_bytes().cmp(key.as_bytes())) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &str) -> Option<Text> {
        let at = self.0.binary_search_by(|(k, _)| k.as_bytes().cmp(key.as_bytes())).ok()?;
        Some(self.0.remove(at).1)
    }

    /// All pairs, by the bytes of the keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// How many pairs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

macro_rules! symbols {
    ($(#[$doc:meta])* $name:ident: $default:ident, [$($variant:ident = $text:literal),+ $(,)?]) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)] // the symbols are the field's own terms; schemas/auth_event.avsc explains them
        pub enum $name { $($variant),+ }

        impl $name {
            /// The symbols in the order of the Avro enum: the place is the number on the wire.
            pub const SYMBOLS: &'static [&'static str] = &[$($text),+];
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The symbol, in upper case.
            pub fn symbol(self) -> &'static str {
                Self::SYMBOLS[self as usize]
            }

            /// The value with this number on the wire.
            pub fn from_index(index: usize) -> Option<Self> {
                Self::ALL.get(index).copied()
            }

            /// The value of a symbol, in any case.
            pub fn from_symbol(symbol: &str) -> Option<Self> {
                Self::SYMBOLS.iter().position(|s| s.eq_ignore_ascii_case(symbol)).and_then(Self::from_index)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::$default
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.symbol())
            }
        }

        impl FieldValue for $name {
            const TYPE: FieldType = FieldType::Enum(Self::SYMBOLS, Self::SYMBOLS[Self::$default as usize]);
            fn view(&self) -> Value<'_> {
                Value::Symbol(self.symbol())
            }
            fn slot(&mut self) -> Slot<'_> {
                Slot::Enum(self)
            }
            #[inline]
            fn is_filled(&self) -> bool {
                *self != Self::$default
            }
        }

        impl SetSymbol for $name {
            fn set_index(&mut self, index: usize) -> bool {
                Self::from_index(index).inspect(|value| *self = *value).is_some()
            }
            fn set_symbol(&mut self, symbol: &str) -> bool {
                Self::from_symbol(symbol).inspect(|value| *self = *value).is_some()
            }
        }
    };
}

symbols!(/// What was done.
    Activity: Other, [
    Logon = "LOGON", Logoff = "LOGOFF", StepUp = "STEP_UP", MfaChallenge = "MFA_CHALLENGE", MfaEnroll = "MFA_ENROLL",
    MfaRemove = "MFA_REMOVE", PasswordChange = "PASSWORD_CHANGE", PasswordReset = "PASSWORD_RESET",
    AccountCreate = "ACCOUNT_CREATE", AccountLock = "ACCOUNT_LOCK", AccountUnlock = "ACCOUNT_UNLOCK",
    AccountDisable = "ACCOUNT_DISABLE", AccountDelete = "ACCOUNT_DELETE", TokenIssue = "TOKEN_ISSUE",
    TokenRefresh = "TOKEN_REFRESH", TokenRevoke = "TOKEN_REVOKE", TokenExpire = "TOKEN_EXPIRE",
    PrivilegeGrant = "PRIVILEGE_GRANT", PrivilegeRevoke = "PRIVILEGE_REVOKE",
    PrivilegedAction = "PRIVILEGED_ACTION", ResourceAccess = "RESOURCE_ACCESS", Impersonate = "IMPERSONATE",
    PolicyChange = "POLICY_CHANGE", Other = "OTHER",
]);
symbols!(/// How it ended.
    Outcome: Unknown, [Success = "SUCCESS", Failure = "FAILURE", Unknown = "UNKNOWN"]);
symbols!(/// What kind of account it is.
    UserKind: Unknown, [Person = "PERSON", Admin = "ADMIN", Service = "SERVICE", Unknown = "UNKNOWN"]);
symbols!(/// By what the user authenticated.
    Factor: Unknown, [
    Password = "PASSWORD", Otp = "OTP", Sms = "SMS", Email = "EMAIL", Push = "PUSH", Webauthn = "WEBAUTHN",
    HardwareToken = "HARDWARE_TOKEN", Certificate = "CERTIFICATE", Fingerprint = "FINGERPRINT", Face = "FACE",
    Voice = "VOICE", RecoveryCode = "RECOVERY_CODE", None = "NONE", Unknown = "UNKNOWN",
]);
symbols!(/// The result of the identity check.
    Verification: Unknown, [
    Verified = "VERIFIED", Rejected = "REJECTED", NotPerformed = "NOT_PERFORMED", Unknown = "UNKNOWN",
]);

macro_rules! auth_event {
    ($($(#[$doc:meta])* $name:ident: $type:ty),+ $(,)?) => {
        /// An authentication event as authseal understood it. Every field is in `schemas/auth_event.avsc`.
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct AuthEvent { $($(#[$doc])* pub $name: $type),+ }

        /// The fields of [`AuthEvent`] by name: `Field::src_ip as usize` is the place in the Avro record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(non_camel_case_types, missing_docs)]
        pub enum Field { $($name),+ }

        impl Field {
            /// All fields, in the order of the schema.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name, as in the schema, in JSON input and in rules.
            pub fn name(self) -> &'static str {
                const NAMES: &[&str] = &[$(stringify!($name)),+];
                NAMES[self as usize]
            }

            /// The type of the field.
            pub fn field_type(self) -> FieldType {
                const TYPES: &[FieldType] = &[$(<$type as FieldValue>::TYPE),+];
                TYPES[self as usize]
            }

            /// The field called `name`.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($name) => Some(Self::$name),)+
                    _ => None,
                }
            }
        }

        impl AuthEvent {
            /// What `field` holds.
            pub fn get(&self, field: Field) -> Value<'_> {
                match field { $(Field::$name => self.$name.view()),+ }
            }

            /// Which fields say something, each as the bit of its place: [`FieldValue::is_filled`].
            pub fn filled(&self) -> u64 {
                // one bit a field
                const { assert!(Field::ALL.len() <= 64) };
                let mut filled = 0;
                $(filled |= u64::from(self.$name.is_filled()) << Field::$name as u32;)+
                filled
            }

            /// Where `field` is written.
            #[inline]
            pub fn slot(&mut self, field: Field) -> Slot<'_> {
                match field { $(Field::$name => self.$name.slot()),+ }
            }
        }
    };
}

auth_event! {
    /// The producer's id; if it has none, the position.
    event_id: Text,
    /// When it happened.
    time: Micros,
    /// When the authentication that backs this action happened.
    auth_time: Option<Micros>,
    /// The system that saw it: okta, keycloak, sshd, gateway …
    source: Text,
    /// Which instance of it.
    source_instance: Option<Text>,
    /// The instance's own counter: holes in it are events that never reached Kafka.
    source_seq: Option<i64>,
    /// Outermost key.
    tenant: Option<Text>,
    /// What was done.
    activity: Activity,
    /// How it ended.
    outcome: Outcome,
    /// Why, normalised: invalid_credentials, unknown_user, locked_out, disabled, expired, mfa_denied, mfa_timeout,
    /// policy …
    reason: Option<Text>,
    /// Why, as the source said it.
    reason_detail: Option<Text>,
    /// Whose account, by name.
    user: Option<Text>,
    /// Whose account, by id.
    user_id: Option<Text>,
    /// What kind of account.
    user_kind: UserKind,
    /// Who acted, when not the user.
    actor: Option<Text>,
    /// IPv4 or IPv6 address, canonical text.
    src_ip: Option<Text>,
    /// Where the logon went.
    dst_host: Option<Text>,
    /// Autonomous system number of the source.
    src_asn: Option<i64>,
    /// Latitude of the source, degrees.
    lat: Option<f64>,
    /// Longitude of the source, degrees.
    long: Option<f64>,
    /// ISO 3166 alpha-2.
    country: Option<Text>,
    /// City of the source.
    city: Option<Text>,
    /// Whether the source is a proxy.
    is_proxy: Option<bool>,
    /// Whether the source is a VPN.
    is_vpn: Option<bool>,
    /// HTTP user agent.
    user_agent: Option<Text>,
    /// JA4 TLS client fingerprint.
    ja4: Option<Text>,
    /// Device id.
    device: Option<Text>,
    /// Token that the source keeps on the device.
    device_token: Option<Text>,
    /// What the source thinks of the device: managed, trusted …
    device_trust: Option<Text>,
    /// Session id.
    session: Option<Text>,
    /// The session from which this one came.
    root_session: Option<Text>,
    /// When the session began.
    session_start: Option<Micros>,
    /// W3C trace id: joins events of one action across systems.
    trace_id: Option<Text>,
    /// Request id of the gateway.
    request_id: Option<Text>,
    /// Token id.
    token_id: Option<Text>,
    /// The chain of refreshes that a token belongs to.
    token_family: Option<Text>,
    /// access, refresh, id, saml …
    token_kind: Option<Text>,
    /// OAuth client.
    client_id: Option<Text>,
    /// By what the user authenticated.
    factor: Factor,
    /// Which enrolled credential or biometric enrolment: the unique human behind a shared account.
    credential_id: Option<Text>,
    /// Whether several factors were used.
    is_mfa: Option<bool>,
    /// Result of the identity check.
    verification: Verification,
    /// Who or what verified.
    verified_by: Option<Text>,
    /// The record of the verification.
    verification_ref: Option<Text>,
    /// Strength of the authentication: higher is stronger.
    acr: Option<i32>,
    /// payout.create, role.grant …
    action: Option<Text>,
    /// On what.
    resource: Option<Text>,
    /// Application.
    app: Option<Text>,
    /// Protocol: ssh, oidc, saml …
    protocol: Option<Text>,
    /// Privileges granted, revoked or used.
    privileges: Vec<Text>,
    /// event_id that this one corrects.
    corrects: Option<Text>,
    /// What was wrong but not fatal: `src_ip:invalid`.
    quality: Vec<Text>,
    /// What a rule needs and the schema lacks.
    attributes: Attributes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_by_its_name_and_its_place() {
        for (place, field) in Field::ALL.iter().enumerate() {
            assert_eq!(*field as usize, place);
            assert_eq!(Field::from_name(field.name()), Some(*field));
        }
        assert_eq!(Field::from_name("nope"), None);
        assert_eq!(Field::activity.field_type(), FieldType::Enum(Activity::SYMBOLS, "OTHER"));
        assert_eq!(AuthEvent::default().get(Field::factor), Value::Symbol("UNKNOWN"));
    }

    #[test]
    fn fields_are_written_through_their_slots() {
        let mut event = AuthEvent::default();
        let Slot::Enum(factor) = event.slot(Field::factor) else { panic!("factor is an enum") };
        assert!(factor.set_symbol("push") && !factor.set_symbol("pushy") && !factor.set_index(99));
        assert_eq!(event.get(Field::factor), Value::Symbol("PUSH"));
        let Slot::OptText(user) = event.slot(Field::user) else { panic!("user is an optional string") };
        *user = Some("alice".into());
        assert_eq!(event.user.as_deref(), Some("alice"));
    }

    #[test]
    fn fields_that_say_something_are_told() {
        let mut event = AuthEvent { user: Some("alice".into()), outcome: Outcome::Failure, ..AuthEvent::default() };
        event.session = Some(Text::default());
        let filled = event.filled();
        let told: Vec<&str> =
            Field::ALL.iter().filter(|field| filled & (1 << **field as u32) != 0).map(|f| f.name()).collect();
        assert_eq!(told, ["time", "outcome", "user"]);
    }

    #[test]
    fn attributes_stay_sorted_and_unique() {
        let mut map = Attributes::default();
        for (key, value) in [("b", "1"), ("a", "2"), ("b", "3")] {
            map.insert(key, value);
        }
        assert_eq!(map.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!((map.get("a"), map.get("c")), (Some("2"), None));
        assert_eq!((map.remove("a").as_deref(), map.len()), (Some("2"), 1));
    }

    #[test]
    fn micros_round_towards_the_past() {
        assert_eq!((Micros(-1).millis(), Micros(1999).millis()), (-1, 1));
    }
}
