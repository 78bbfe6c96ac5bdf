//! Calls of one request and one answer to a gRPC service on a Unix socket (gRPC over HTTP/2), with an
//! end in time and in size whatever the service does.

use std::{future::Future, io, path::Path, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request, StatusCode};
use prost::Message;
use tokio::{net::UnixStream, time::timeout};

/// The largest answer, in bytes.
const LARGEST: usize = 32 << 20;

/// What comes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A service.
pub struct Service {
    send: SendRequest<Bytes>,
    patience: Duration,
}

impl Service {
    /// Connects. The calling task must be in a tokio runtime, where the connection is kept. A call
    /// that is not complete after `patience` fails.
    pub async fn connect(socket: &Path, patience: Duration) -> io::Result<Self> {
        patiently(patience, async {
            let stream = UnixStream::connect(socket).await?;
            let mut client = h2::client::Builder::new();
            client
                .initial_window_size(1 << 20)
                .max_header_list_size(64 << 10);
            let (send, connection) = client.handshake(stream).await.map_err(io::Error::other)?;
            // Its end shows in the calls.
            tokio::spawn(async { drop(connection.await) });
            Ok(Self { send, patience })
        })
        .await
    }

    /// Calls `method` (`/package.Service/Method`).
    pub async fn call<T: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> io::Result<T> {
        patiently(self.patience, async {
            let mut message = BytesMut::new();
            message.put_u8(0);
            message.put_u32(u32::try_from(request.encoded_len()).unwrap_or(u32::MAX));
            request.encode(&mut message).map_err(io::Error::other)?;
            let request = Request::post(format!("http://localhost{method}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(())
                .map_err(io::Error::other)?;
            let mut send = self.send.clone().ready().await.map_err(io::Error::other)?;
            let (response, mut body) = send
                .send_request(request, false)
                .map_err(io::Error::other)?;
            body.send_data(message.freeze(), true)
                .map_err(io::Error::other)?;
            let (head, mut body) = response.await.map_err(io::Error::other)?.into_parts();
            if head.status != StatusCode::OK {
                return Err(io::Error::other(format!("status {}", head.status)));
            }
            let mut answer = BytesMut::new();
            while let Some(data) = body.data().await {
                let data = data.map_err(io::Error::other)?;
                // Nothing but making room for more.
                let _released = body.flow_control().release_capacity(data.len());
                answer.extend_from_slice(&data);
                if answer.len() > LARGEST {
                    return Err(io::Error::other(format!("more than {} MB", LARGEST >> 20)));
                }
            }
            let trailers = body.trailers().await.map_err(io::Error::other)?;
            is_ok(trailers.as_ref().unwrap_or(&head.headers))?;
            decode(&answer)
        })
        .await
    }
}

async fn patiently<T>(
    patience: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let done = timeout(patience, work).await;
    done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// `grpc-status` 0; with others comes why.
fn is_ok(trailers: &HeaderMap) -> io::Result<()> {
    let text = |name: &str| {
        let value = trailers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    match text("grpc-status") {
        "0" => Ok(()),
        status => {
            let why: String = text("grpc-message").chars().take(200).collect();
            Err(io::Error::other(format!("gRPC status {status:?}: {why}")))
        }
    }
}

fn decode<T: Message + Default>(answer: &[u8]) -> io::Result<T> {
    match answer.split_at_checked(PREFIX) {
        Some(([0, a, b, c, d], message))
            if u32::from_be_bytes([*a, *b, *c, *d]) as usize == message.len() =>
        {
            T::decode(message).map_err(io::Error::other)
        }
        _ => Err(io::Error::other("no single uncompressed message")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Text {
        #[prost(string, tag = "1")]
        text: String,
    }

    #[test]
    fn a_message_is_all_there_is() {
        let whole = [0, 0, 0, 0, 4, 0x0a, 2, b'h', b'i'];
        let decoded: Option<Text> = decode(&whole).ok();
        assert_eq!(decoded.map(|text| text.text).as_deref(), Some("hi"));
        for wrong in [
            &[][..],
            &[0, 0, 0],
            &[1, 0, 0, 0, 4, 0x0a, 2, b'h', b'i'],
            &[0, 0, 0, 0, 9, 0x0a, 2, b'h', b'i'],
            &[0, 0, 0, 0, 4, 0x0a, 9, b'h', b'i'],
            &[0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(decode::<Text>(wrong).is_err(), "{wrong:?}");
        }
    }
}
