//! Asks the API server what a [`Reflector`] wants to know, and passes on what it finds out. Takes no
//! more than it has room for, and waits for nothing too long.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{
    api::Api,
    reflect::{Change, Fault, Reflector, Status},
};

/// The beginning of an answer may take so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// And a page of a list.
const PATIENCE_FOR_PAGE: Duration = Duration::from_mins(1);
/// There is a bookmark each minute: who is silent for so long is not there any more.
const SILENCE: Duration = Duration::from_secs(150);

/// Bytes of a page. More, and a smaller page is asked for.
const LARGEST_PAGE: usize = 24 << 20;
/// Bytes of an event. etcd keeps no object of more than 1.5 MB, unless it is told otherwise.
const LARGEST_LINE: usize = 8 << 20;
/// Bytes of what is said to be wrong.
const LARGEST_STATUS: usize = 64 << 10;
/// Characters of it that are told.
const LONGEST_MESSAGE: usize = 300;

/// What is found out about a kind of objects.
#[derive(Debug)]
pub(super) enum Told {
    /// By a version of the API.
    Changes(String, Vec<Change>),
    /// Something is wrong.
    Trouble(String),
    /// Nothing is.
    Fine,
}

/// Follows all objects of a kind until nobody wants to know.
pub(super) async fn follow(
    client: Client,
    api: &'static Api,
    told: mpsc::Sender<(&'static Api, Told)>,
) {
    let mut follower = Follower {
        client,
        reflector: Reflector::new(api),
        api,
        told,
        is_fine: false,
    };
    let random = RandomState::new();
    let mut times = 0_u64;
    while !follower.told.is_closed() {
        if let Err(fault) = follower.once().await {
            let (changes, trouble) = follower.reflector.failed(&fault);
            let is_known = !changes.is_empty();
            follower.changes(changes).await;
            if let Some(trouble) = trouble {
                follower.is_fine = false;
                follower.say(Told::Trouble(trouble)).await;
            } else if is_known {
                follower.fine().await;
            }
        }
        times += 1;
        sleep(follower.reflector.pause(random.hash_one(times))).await;
    }
}

struct Follower {
    client: Client,
    reflector: Reflector,
    api: &'static Api,
    told: mpsc::Sender<(&'static Api, Told)>,
    is_fine: bool,
}

impl Follower {
    async fn once(&mut self) -> Result<(), Fault> {
        let body = self.ask().await?;
        if self.reflector.is_watching() {
            self.fine().await;
            self.watch(body).await
        } else {
            self.list(body).await
        }
    }

    async fn ask(&self) -> Result<Body, Fault> {
        let request = http::Request::get(self.reflector.request()).body(Body::empty());
        let request = request.map_err(|error| Fault::Garbled(error.to_string()))?;
        let answer = timeout(PATIENCE, self.client.send(request)).await;
        let answer = answer
            .map_err(|_| no_answer(PATIENCE))?
            .map_err(|error| Fault::Unreachable(chain(&error)))?;
        let code = answer.status().as_u16();
        let body = answer.into_body();
        if code == 200 {
            return Ok(body);
        }
        let said = whole(body, LARGEST_STATUS);
        let said = timeout(PATIENCE, said).await;
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        let status: Option<Status> = serde_json::from_slice(&said).ok();
        let message = status.map_or_else(String::new, |status| status.message);
        let message = message.chars().take(LONGEST_MESSAGE).collect();
        Err(Fault::Status { code, message })
    }

    async fn list(&mut self, body: Body) -> Result<(), Fault> {
        let page = timeout(PATIENCE_FOR_PAGE, whole(body, LARGEST_PAGE)).await;
        let page = page.map_err(|_| no_answer(PATIENCE_FOR_PAGE))??;
        let changes = self.reflector.page(&page)?;
        drop(page);
        self.changes(changes).await;
        if self.reflector.is_watching() {
            self.fine().await;
        }
        Ok(())
    }

    async fn watch(&mut self, mut body: Body) -> Result<(), Fault> {
        let began = Instant::now();
        let mut buffer = BytesMut::new();
        let mut searched = 0;
        loop {
            let frame = timeout(SILENCE, body.frame()).await;
            let Some(frame) = frame.map_err(|_| no_answer(SILENCE))? else {
                if !buffer.is_empty() {
                    return Err(Fault::Unreachable("it was cut off in an event".to_owned()));
                }
                self.reflector.ended(began.elapsed());
                return Ok(());
            };
            let frame = frame.map_err(|error| Fault::Unreachable(chain(&error)))?;
            if let Ok(data) = frame.into_data() {
                buffer.extend_from_slice(&data);
            }
            let mut changes = Vec::new();
            while let Some(end) = newline(&buffer, searched) {
                let line = buffer.split_to(end);
                buffer.advance(1);
                searched = 0;
                match self.reflector.line(&line) {
                    Ok(change) => changes.extend(change),
                    Err(fault) => {
                        self.changes(changes).await;
                        return Err(fault);
                    }
                }
            }
            searched = buffer.len();
            self.changes(changes).await;
            if buffer.len() > LARGEST_LINE {
                return Err(Fault::TooLarge);
            }
        }
    }

    async fn changes(&mut self, changes: Vec<Change>) {
        if !changes.is_empty() {
            let version = self.reflector.version().to_owned();
            self.say(Told::Changes(version, changes)).await;
        }
    }

    async fn fine(&mut self) {
        if !std::mem::replace(&mut self.is_fine, true) {
            self.say(Told::Fine).await;
        }
    }

    async fn say(&self, told: Told) {
        // Without anybody to hear it this ends soon.
        let _heard = self.told.send((self.api, told)).await;
    }
}

fn newline(buffer: &[u8], from: usize) -> Option<usize> {
    let rest = buffer.get(from..)?;
    let at = rest.iter().position(|&byte| byte == b'\n')?;
    Some(from + at)
}

/// All of a body, if it is not more than this.
async fn whole(mut body: Body, most: usize) -> Result<Bytes, Fault> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fault::Unreachable(chain(&error)))?;
        if let Ok(data) = frame.into_data() {
            if all.len() + data.len() > most {
                return Err(Fault::TooLarge);
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

fn no_answer(patience: Duration) -> Fault {
    Fault::Unreachable(format!("no answer in {} s", patience.as_secs()))
}

/// An error with its causes: the last one tells most.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let says = error.to_string();
        if !text.ends_with(&says) {
            text = format!("{text}: {says}");
        }
        cause = error.source();
    }
    text
}
