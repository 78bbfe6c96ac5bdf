//! What a daemon answers over HTTP: `/metrics`, `/healthz` and `/readyz`.
//!
//! Over TLS, and to who has a password, if there is a [`Guard`]. In a thread of its own. Whoever asks slowly, asks much or asks for long is cut off: nobody waits
//! for them but they themselves.

mod guard;
mod login;
mod tls;

pub use guard::Guard;

use std::{convert::Infallible, io, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use guard::Protection;
use login::Admission;

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 64;
/// A request's head is to be here in that time, and a connection to be over.
const HEAD: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// After an error of accepting (too many descriptors, most likely).
const PAUSE: Duration = Duration::from_millis(100);

/// What there is to be asked.
pub trait Answers: Send + Sync + 'static {
    /// `/metrics`: the text format of Prometheus, version 0.0.4; or why there is none.
    fn metrics(&self) -> Result<Vec<u8>, String>;
    /// `/readyz`: is it observing?
    fn is_ready(&self) -> bool;
}

/// Answers whoever connects and is let pass, as long as the process lives.
pub fn serve(
    listener: std::net::TcpListener,
    answers: impl Answers,
    guard: Option<Guard>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answers = Arc::new(answers);
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener)?
    };
    thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || runtime.block_on(accept(listener, answers, guard)))?;
    Ok(())
}

async fn accept(listener: TcpListener, answers: Arc<impl Answers>, guard: Option<Guard>) {
    let none = Arc::new(Protection::none());
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return; // it is never closed
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let answers = Arc::clone(&answers);
                let protection = guard.as_ref().map(Guard::current);
                let protection = protection.unwrap_or_else(|| Arc::clone(&none));
                tokio::spawn(async move {
                    let _in_time = timeout(WHOLE, connected(stream, &*answers, &protection)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connected(stream: TcpStream, answers: &impl Answers, protection: &Protection) {
    let Some(acceptor) = &protection.acceptor else {
        return answer(stream, answers, protection).await;
    };
    match timeout(HEAD, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => answer(stream, answers, protection).await,
        Ok(Err(error)) => tracing::debug!("no TLS came about: {error}"),
        Err(_) => tracing::debug!("no TLS came about in time"),
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answers: &impl Answers,
    protection: &Protection,
) {
    let service = service_fn(|request: Request<Incoming>| async move {
        let mut response = if is_for_everybody(request.uri().path()) {
            respond(&request, answers)
        } else {
            let header = request.headers().get(header::AUTHORIZATION);
            match protection.login.admits(header).await {
                Admission::Granted => respond(&request, answers),
                Admission::Refused => refusal(),
                Admission::Busy => said(StatusCode::SERVICE_UNAVAILABLE, "too many logins\n"),
            }
        };
        let more = protection.headers.clone();
        response.headers_mut().extend(more);
        Ok::<_, Infallible>(response)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("a request was not answered: {error}");
    }
}

/// Who asks whether it is well has no password, and learns nothing else.
fn is_for_everybody(path: &str) -> bool {
    ["/healthz", "/readyz"].contains(&path)
}

fn refusal() -> Response<Full<Bytes>> {
    let mut response = said(
        StatusCode::UNAUTHORIZED,
        "a user and a password are needed\n",
    );
    let value = header::HeaderValue::from_static("Basic realm=\"flowmon\"");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, value);
    response
}

fn respond(request: &Request<Incoming>, answers: &impl Answers) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return said(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match request.uri().path() {
        "/metrics" => match answers.metrics() {
            Ok(text) => with_type("text/plain; version=0.0.4", StatusCode::OK, text),
            Err(why) => said(StatusCode::INTERNAL_SERVER_ERROR, &format!("{why}\n")),
        },
        "/healthz" => said(StatusCode::OK, "alive\n"),
        "/readyz" if answers.is_ready() => said(StatusCode::OK, "ready\n"),
        "/readyz" => said(StatusCode::SERVICE_UNAVAILABLE, "not attached yet\n"),
        "/" => said(StatusCode::OK, "flowmon: /metrics /healthz /readyz\n"),
        _ => said(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n",
        ),
    }
}

fn said(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    with_type("text/plain; charset=utf-8", status, text.to_owned())
}

fn with_type(
    content_type: &'static str,
    status: StatusCode,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let value = header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use std::{
        io::{Read as _, Write as _},
        net::{SocketAddr, TcpStream as Stream},
    };

    struct Says(Result<&'static str, &'static str>);

    impl Answers for Says {
        fn metrics(&self) -> Result<Vec<u8>, String> {
            self.0.map(Into::into).map_err(Into::into)
        }

        fn is_ready(&self) -> bool {
            self.0.is_ok()
        }
    }

    fn ask(address: SocketAddr, head: &str) -> String {
        let mut stream = Stream::connect(address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn at(says: Says) -> SocketAddr {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener, says, None).unwrap();
        address
    }

    #[test]
    fn metrics_health_and_readiness_are_answered() {
        let well = at(Says(Ok("flowmon_build_info 1\n")));
        let get = |path: &str| ask(well, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let metrics = get("/metrics");
        assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
        assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
        assert!(metrics.ends_with("flowmon_build_info 1\n"), "{metrics}");
        assert!(get("/healthz").starts_with("HTTP/1.1 200"));
        assert!(get("/readyz").starts_with("HTTP/1.1 200"));
        assert!(get("/else").starts_with("HTTP/1.1 404"));
        let post = ask(
            well,
            "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        );
        assert!(post.starts_with("HTTP/1.1 405"), "{post}");
        let ill = at(Says(Err("no")));
        let get = |path: &str| ask(ill, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(get("/metrics").starts_with("HTTP/1.1 500"));
        assert!(get("/readyz").starts_with("HTTP/1.1 503"));
    }

    #[test]
    fn nobody_who_asks_endlessly_or_not_at_all_keeps_others_waiting() {
        let address = at(Says(Ok("x 1\n")));
        let silent: Vec<Stream> = (0..CONNECTIONS / 2)
            .map(|_| Stream::connect(address).unwrap())
            .collect();
        let endless = format!("GET /metrics HTTP/1.1\r\nX: {}", "y".repeat(HEAD_BYTES * 2));
        let mut stream = Stream::connect(address).unwrap();
        // It may be cut off while this is written.
        let _cut_off = stream.write_all(endless.as_bytes());
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
        let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answer.ends_with("x 1\n"), "{answer}");
        drop(silent);
    }
}
