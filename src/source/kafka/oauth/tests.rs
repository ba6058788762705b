//! The token endpoint as RFC 6749 has it, and what providers do instead.

use super::*;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::mpsc,
};

fn properties(pairs: &[(&str, &str)]) -> Properties {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn complete(endpoint: &str) -> Properties {
    properties(&[
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.client.id", "auth:seal"),
        ("sasl.oauthbearer.client.secret", "hun/ter+ü"),
        ("sasl.oauthbearer.scope", "kafka audit"),
        ("sasl.oauthbearer.token.endpoint.url", endpoint),
    ])
}

/// A provider that gives each answer once, the last for ever, and says what it was sent.
fn provider(answers: Vec<(u16, String)>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/token", listener.local_addr().unwrap());
    let (send, received) = mpsc::channel();
    std::thread::spawn(move || {
        let mut answers = answers.into_iter().peekable();
        while let Ok((stream, _)) = listener.accept() {
            let mut reader = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let _ = send.send(format!("{head}{}", String::from_utf8(body).unwrap()));
            let Some((status, body)) = answers.next() else { return };
            if answers.peek().is_none() {
                answers = vec![(status, body.clone())].into_iter().peekable();
            }
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = reader.get_mut().write_all(format!("{head}{body}").as_bytes());
        }
    });
    (endpoint, received)
}

fn jwt(claims: &str) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn a_token_is_asked_for_as_the_rfc_says_and_handed_over() {
    let token = jwt(r#"{"sub":"service-account-authseal","exp":1}"#);
    let answer = format!(r#"{{"access_token":"{token}","expires_in":300,"token_type":"Bearer"}}"#);
    let (endpoint, asked) = provider(vec![(200, answer)]);
    let tokens = Tokens::of(&complete(&endpoint)).unwrap();
    assert!(tokens.are_needed() && !tokens.are_there());
    let before = now();
    let given = tokens.next().unwrap();
    assert_eq!((given.token.as_str(), given.principal_name.as_str()), (token.as_str(), "service-account-authseal"));
    assert!((before + 300_000..=now() + 300_000).contains(&given.lifetime_ms));
    assert!(tokens.are_there());
    let request = asked.recv().unwrap().to_lowercase();
    assert!(request.starts_with("post /token http/1.1\r\n"), "{request}");
    assert!(request.ends_with("grant_type=client_credentials&scope=kafka+audit"), "{request}");
    // both parts form-encoded, so that a colon in the id does not end it
    let basic = STANDARD.encode("auth%3Aseal:hun%2Fter%2B%C3%BC").to_lowercase();
    assert!(request.contains(&format!("authorization: basic {basic}\r\n")), "{request}");
}

#[test]
fn a_provider_that_fails_is_asked_again_until_it_answers() {
    let token = r#"{"access_token":"opaque","expires_in":300}"#.to_owned();
    let (endpoint, asked) = provider(vec![(503, String::new()), (503, "<html>".into()), (200, token)]);
    let tokens = Tokens::of(&complete(&endpoint)).unwrap();
    let error = tokens.next().err().unwrap().to_string();
    assert!(error.contains("503") && error.contains(&endpoint), "{error}");
    assert!(!error.contains(REFUSED), "{error}");
    for _ in 0..3 {
        asked.recv().unwrap();
    }
    let given = loop {
        match tokens.next() {
            Ok(token) => break token,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert_eq!((given.token.as_str(), given.principal_name.as_str()), ("opaque", "auth:seal"));
}

#[test]
fn tokens_are_renewed_before_they_end() {
    let answer = |n| (200, format!(r#"{{"access_token":"t{n}","expires_in":1}}"#));
    let (endpoint, asked) = provider(vec![answer(1), answer(2)]);
    let tokens = Tokens::of(&complete(&endpoint)).unwrap();
    assert_eq!(tokens.next().unwrap().token, "t1");
    for _ in 0..2 {
        asked.recv().unwrap();
    }
    // the second one arrives without anybody asking for it
    while tokens.next().unwrap().token != "t2" {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_refusal_names_the_reason_and_never_the_secret() {
    let words = r#"{"error":"invalid_client","error_description":"Invalid client\r\ncredentials"}"#;
    let (endpoint, _asked) = provider(vec![(401, words.into())]);
    let tokens = Tokens::of(&complete(&endpoint)).unwrap();
    let error = tokens.next().err().unwrap().to_string();
    assert!(error.contains(REFUSED) && error.contains("401 invalid_client: Invalid client  credentials"), "{error}");
    assert!(!error.contains("hun"), "{error}");
    assert!(!format!("{tokens:?}").contains("hun"));
}

#[test]
fn answers_that_are_no_token_are_refused() {
    let now = 1_000_000;
    for (status, body, words) in [
        (200, "", "without an access_token"),
        (200, r#"{"access_token":""}"#, "without an access_token"),
        (200, r#"{"access_token":"x"}"#, "when it ends"),
        (200, r#"{"access_token":"x","expires_in":0}"#, "when it ends"),
        (200, r#"{"access_token":"x","expires_in":-5}"#, "when it ends"),
        (200, r#"{"access_token":"x","expires_in":300,"token_type":"mac"}"#, "not bearer"),
        (302, "", "302"),
        (429, r#"{"error":"slow_down"}"#, "slow_down"),
        (500, "\u{0}", "500: no reason given"),
    ] {
        let error = read(status, body.as_bytes(), now).err().unwrap().to_string();
        assert!(error.contains(words), "{status} {body}: {error}");
    }
    let of_jwt = read(200, format!(r#"{{"access_token":"{}"}}"#, jwt(r#"{"exp":1300}"#)).as_bytes(), now).unwrap();
    assert_eq!((of_jwt.ends, of_jwt.lifetime), (1_300_000, Duration::from_secs(300)));
    let for_ever = read(200, br#"{"access_token":"x","expires_in":1e300}"#, now).unwrap();
    assert_eq!(for_ever.lifetime, Duration::from_secs(365 * 86_400));
}

#[test]
fn properties_that_cannot_work_are_named() {
    let good = complete("https://idp.example.com/token");
    assert!(Tokens::of(&good).unwrap().are_needed());
    assert!(!Tokens::of(&properties(&[("sasl.mechanism", "PLAIN")])).unwrap().are_needed());
    for (name, value, words) in [
        ("sasl.oauthbearer.method", "default", "only \"oidc\""),
        ("sasl.oauthbearer.grant.type", "jwt-bearer", "only \"client_credentials\""),
        ("sasl.oauthbearer.extensions", "a=b", "not supported"),
        ("sasl.oauthbearer.client.id", "", "sasl.oauthbearer.client.id is missing"),
        ("sasl.oauthbearer.client.secret", " ", "sasl.oauthbearer.client.secret is missing"),
        ("sasl.oauthbearer.token.endpoint.url", "http://idp.example.com/token", "in the clear"),
        ("sasl.oauthbearer.token.endpoint.url", "https://user:hunter@idp.example.com/", "no user or password"),
        ("sasl.oauthbearer.token.endpoint.url", "idp.example.com", "https://"),
        ("https.ca.location", "/nowhere/ca.pem", "/nowhere/ca.pem"),
        ("sasl.mechanism", "SCRAM-SHA-512", "OAUTHBEARER"),
    ] {
        let mut properties = good.clone();
        properties.insert(name.into(), value.into());
        let error = Tokens::of(&properties).unwrap_err();
        assert!(error.kind() == Kind::Config && error.to_string().contains(words), "{error}");
        assert!(!error.to_string().contains("hun"), "{error}");
    }
    for endpoint in ["http://127.0.0.1:8080/t", "http://[::1]:8080/t", "http://localhost/t"] {
        Tokens::of(&complete(endpoint)).unwrap();
    }
}
