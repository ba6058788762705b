//! A proxy that makes a good S3 server a bad one: it drops headers of requests, or loses answers. It works with servers
//! that do not check signatures.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What the proxy does to what passes.
#[derive(Debug, Default)]
pub struct Meddler {
    /// Headers of requests that the server never sees, in lower case.
    pub drops: &'static [&'static str],
    /// The answers to so many first PUTs are lost after the server has done them.
    pub loses: AtomicU32,
    /// PUTs that reached the server.
    pub puts: AtomicU32,
}

/// Starts it before `endpoint` (`http://host:port`); returns its own endpoint.
pub async fn start(endpoint: &str, meddler: Arc<Meddler>) -> String {
    let upstream = endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (upstream, meddler) = (upstream.clone(), meddler.clone());
            tokio::spawn(async move { pass(client, &upstream, &meddler).await });
        }
    });
    own
}

/// Passes one request and its answer, and closes both connections.
async fn pass(mut client: TcpStream, upstream: &str, meddler: &Meddler) -> Option<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = bytes.split_off(end + 4);
    let head = String::from_utf8(bytes).ok()?;
    let value = |line: &str, name: &str| {
        line.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned())
    };
    let length: usize = head.lines().find_map(|line| value(line, "content-length")).map_or(0, |v| v.parse().unwrap());
    while body.len() < length {
        if client.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let unwanted = |line: &str| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        name == "connection" || meddler.drops.contains(&name.as_str())
    };
    let kept: Vec<&str> = head.trim_end().split("\r\n").filter(|line| !unwanted(line)).collect();
    let mut server = TcpStream::connect(upstream).await.ok()?;
    server.write_all(format!("{}\r\nconnection: close\r\n\r\n", kept.join("\r\n")).as_bytes()).await.ok()?;
    server.write_all(&body).await.ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.ok()?;
    if head.starts_with("PUT ") {
        meddler.puts.fetch_add(1, Ordering::SeqCst);
        if meddler.loses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return None;
        }
    }
    client.write_all(&answer).await.ok()?;
    client.shutdown().await.ok()
}
