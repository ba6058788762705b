//! The HTTP surface: `/livez`, `/readyz` and `/metrics`. Read-only, without passwords, on loopback unless told
//! otherwise.

use crate::{error::Result, health::Health};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Map, Value, json};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// Requests in flight get so long to end when the process does.
const LINGER: Duration = Duration::from_secs(2);

/// What the answers are made of.
#[derive(Clone)]
pub struct Web {
    /// The health of the process.
    pub health: Arc<Health>,
    /// Its metrics.
    pub metrics: PrometheusHandle,
}

/// Answers requests until `stop` ends, then lets those in flight end for two seconds at most.
pub async fn serve(listener: TcpListener, web: Web, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    let (told, mut telling) = tokio::sync::watch::channel(false);
    let stopping = async move {
        stop.await;
        let _ = told.send(true); // the receiver lives as long as this function
    };
    let server = axum::serve(listener, router(web)).with_graceful_shutdown(stopping);
    let expired = async move {
        let _ = telling.wait_for(|told| *told).await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        served = server => served.map_err(|e| crate::error::Error::retry("serving http").caused_by(e)),
        () = expired => Ok(()),
    }
}

fn router(web: Web) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(web)
}

async fn livez(State(web): State<Web>) -> impl IntoResponse {
    let alive = web.health.is_alive();
    answer(alive, json!({ "alive": alive, "silent_ms": web.health.silence().as_millis() as u64 }))
}

async fn readyz(State(web): State<Web>) -> impl IntoResponse {
    let part = |part: crate::health::Part| {
        let seconds = part.since.elapsed().as_secs();
        match part.reason {
            None => match part.warning {
                None => json!({ "ok": true, "seconds": seconds }),
                Some(warning) => json!({ "ok": true, "seconds": seconds, "warning": warning }),
            },
            Some(reason) => json!({ "ok": false, "seconds": seconds, "reason": reason }),
        }
    };
    let alive = web.health.is_alive();
    let parts = web.health.parts();
    let ready = alive && parts.values().all(|part| part.reason.is_none());
    let parts: Map<String, Value> = parts.into_iter().map(|(name, state)| (name, part(state))).collect();
    answer(ready, json!({ "ready": ready, "alive": alive, "parts": parts }))
}

fn answer(good: bool, body: Value) -> impl IntoResponse {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], format!("{body}\n"))
}

async fn metrics(State(web): State<Web>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], web.metrics.render())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::{SocketAddr, TcpStream},
    };
    use tokio::sync::oneshot;

    struct Running {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        served: tokio::task::JoinHandle<Result<()>>,
    }

    async fn start(health: Arc<Health>) -> Running {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        ::metrics::with_local_recorder(&recorder, || ::metrics::counter!("authseal_records_total").increment(3));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let web = Web { health, metrics: recorder.handle() };
        let stopped = async move { drop(stopped.await) };
        Running { address, stop, served: tokio::spawn(serve(listener, web, stopped)) }
    }

    /// Status and body of a request over a real connection, by a client that shares nothing with the server.
    async fn ask(address: SocketAddr, request: &'static str) -> (u16, String) {
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
        })
        .await
        .unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn health_and_metrics_are_told_over_tcp() {
        let health = Health::new(Duration::from_secs(60));
        let running = start(health.clone()).await;
        let (status, body) = ask(running.address, "GET /readyz").await;
        assert_eq!(status, 503);
        assert!(body.contains(r#""start":{"ok":false"#), "{body}");

        health.started();
        health.set("store", Ok(()));
        let (status, body) = ask(running.address, "GET /readyz").await;
        assert_eq!(status, 200, "{body}");
        health.set("partition:auth/3", Err("the head of the chain is another one".into()));
        let (status, body) = ask(running.address, "GET /readyz").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["ready"], &body["parts"]["store"]["ok"]), (503, &json!(false), &json!(true)));
        assert_eq!(body["parts"]["partition:auth/3"]["reason"], "the head of the chain is another one");

        assert_eq!(ask(running.address, "GET /livez").await.0, 200);
        let (status, body) = ask(running.address, "GET /metrics").await;
        assert_eq!((status, body.contains("authseal_records_total 3")), (200, true), "{body}");
        assert_eq!(ask(running.address, "HEAD /livez").await, (200, String::new()));
        assert_eq!(ask(running.address, "POST /livez").await.0, 405);
        assert_eq!(ask(running.address, "GET /").await.0, 404);
        running.stop.send(()).unwrap();
        running.served.await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_dead_loop_is_told() {
        let running = start(Health::new(Duration::ZERO)).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(ask(running.address, "GET /livez").await.0, 503);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_client_that_hangs_does_not_hold_the_shutdown() {
        let running = start(Health::new(Duration::from_secs(60))).await;
        let mut hanging = TcpStream::connect(running.address).unwrap();
        hanging.write_all(b"GET /livez HTTP/1.1\r\nHo").unwrap();
        assert_eq!(ask(running.address, "GET /livez").await.0, 200);
        running.stop.send(()).unwrap();
        let ended = tokio::time::timeout(LINGER * 5, running.served).await;
        ended.unwrap().unwrap().unwrap();
    }
}
