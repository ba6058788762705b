//! The one error type. Its [`Kind`] says what the operator or the caller does next; its message says
//! what failed, where, and how to mend it. Messages start in lower case and end without a period.

use std::fmt;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A fault of the moment (network, throttling, a broker that restarts): the same call may succeed later.
    Retry,
    /// Settings, permissions or arguments are wrong: nothing will change until a person changes them.
    Config,
    /// Input bytes do not have the form they should have.
    Data,
    /// What the store holds contradicts what was sealed: evidence of tampering, or of a squatter.
    Tampered,
    /// Two things that cannot both be true: a defect of authseal itself.
    Bug,
}

/// An error with its next action and, where there is one, its cause.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// A fault of the moment.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::new(Kind::Retry, message)
    }

    /// Something a person must change in the settings.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    /// Malformed input.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Kind::Data, message)
    }

    /// The store contradicts what was sealed.
    pub fn tampered(message: impl Into<String>) -> Self {
        Self::new(Kind::Tampered, message)
    }

    /// A defect of authseal.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, message)
    }

    /// The same error, with the cause kept for the log.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error, its message prefixed with what was being done: "reading rules/x.rhai: …".
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// What to do next.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the same call may succeed later.
    pub fn is_retry(&self) -> bool {
        self.kind == Kind::Retry
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.source.as_deref().map(|e| e as &dyn std::error::Error);
        while let Some(e) = cause {
            let text = e.to_string();
            // libraries like to repeat their cause in their own text
            if !self.message.contains(&text) {
                write!(f, ": {text}")?;
            }
            cause = e.source();
        }
        Ok(())
    }
}

/// An error of somebody else's with its causes.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // libraries like to repeat their cause in their own text
        if !text.contains(&words) {
            text += &format!(": {words}");
        }
        cause = error.source();
    }
    text
}

/// What somebody else wrote, fit for a line of a log: without control characters, and at most so many characters.
pub fn plain(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
