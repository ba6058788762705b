//! The Python that runs what other people would write against our formats. `make test-live` sets it up.

/// The Python to use. Without one the test says so; where CI is set that is a failure.
pub fn python() -> Option<String> {
    let python = std::env::var("AUTHSEAL_TEST_PYTHON").ok();
    if python.is_none() {
        assert!(std::env::var_os("CI").is_none(), "AUTHSEAL_TEST_PYTHON must name a Python: run `make test`");
        eprintln!("AUTHSEAL_TEST_PYTHON names no Python: run `make test`");
    }
    python
}
