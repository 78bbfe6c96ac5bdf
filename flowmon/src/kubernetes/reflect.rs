//! How all objects of a kind are followed: what to ask for next, and what the answers mean. No IO.
//!
//! As the API's concepts have it ("Efficient detection of changes"): a list in pages, then a watch
//! from its version on, and another list when that version is too old.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt::Write as _, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{api::Api, discover};
use crate::policy::cluster::ObjectId;

/// Objects in a page.
const PAGE: u32 = 500;
/// A list that has more pages has no end.
const MOST_PAGES: u32 = 20_000;
/// What a version, or the place where a list goes on, may be long.
const LONGEST_TOKEN: usize = 16 << 10;
/// Characters of what is no answer that are told.
const LONGEST_CITATION: usize = 200;
/// A watch that the server ends is not asked for longer than this.
const WATCH: Duration = Duration::from_mins(5);
/// One that lasted so long was a good one.
const GOOD_WATCH: Duration = Duration::from_secs(10);

const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What the API does not have may be added to it.
const ABSENT_PAUSE: Duration = Duration::from_secs(30);

/// Failures in a row after which something is wrong.
const PATIENCE: u32 = 2;
/// And after which what is known may be of no use.
const START_OVER: u32 = 4;

/// Where a kind of objects stands.
#[derive(Debug)]
pub(super) struct Reflector {
    api: &'static Api,
    /// Which of its versions.
    version: usize,
    /// None of these is there, but this one.
    other: Option<String>,
    at: At,
    /// Objects in a page.
    limit: u32,
    failures: u32,
    /// It is known which there are.
    is_complete: bool,
    is_absent: bool,
}

#[derive(Debug)]
enum At {
    /// The list goes on here.
    List { token: Option<String>, pages: u32 },
    /// Changes since this version.
    Watch { since: String },
    /// Which versions there are of the group.
    Versions,
    /// Whether it is in the last of these, else in the one before.
    Resources { versions: Vec<String> },
}

const START: At = At::List {
    token: None,
    pages: 0,
};

/// What an answer says of objects.
#[derive(Debug)]
pub(super) enum Change {
    /// What follows is all that there is …
    Begin,
    Put(ObjectId, Box<RawValue>),
    Remove(ObjectId),
    /// … up to here.
    End,
}

/// Why there was no good answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server says so.
    Status { code: u16, message: String },
    /// More than is taken.
    TooLarge,
    /// It is no answer to this.
    Garbled(String),
    /// Nobody there, or no more.
    Unreachable(String),
}

#[derive(Deserialize)]
struct Page<'a> {
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    token: String,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Object {
    metadata: ObjectMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectMeta {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    resource_version: String,
}

/// What is wrong, as the API server puts it.
#[derive(Deserialize)]
pub(super) struct Status {
    #[serde(default)]
    pub(super) code: u16,
    #[serde(default)]
    pub(super) message: String,
}

impl Reflector {
    pub(super) const fn new(api: &'static Api) -> Self {
        Self {
            api,
            version: 0,
            other: None,
            at: START,
            limit: PAGE,
            failures: 0,
            is_complete: false,
            is_absent: false,
        }
    }

    /// The version of the API that is asked.
    pub(super) fn version(&self) -> &str {
        let known = || self.api.versions.get(self.version).copied();
        let other = self.other.as_deref();
        other.or_else(known).unwrap_or("v1")
    }

    pub(super) const fn is_watching(&self) -> bool {
        matches!(self.at, At::Watch { .. })
    }

    /// Path and query of what to ask for.
    pub(super) fn request(&self) -> String {
        let mut request = self.api.path(self.version());
        match &self.at {
            At::List { token, .. } => {
                let _infallible = write!(request, "?limit={}", self.limit);
                if let Some(token) = token {
                    request += "&continue=";
                    push_encoded(&mut request, token);
                }
            }
            At::Watch { since } => {
                let seconds = WATCH.as_secs();
                let _infallible = write!(
                    request,
                    "?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion="
                );
                push_encoded(&mut request, since);
            }
            At::Versions => {
                request = format!("/apis/{}", self.api.discoverable().unwrap_or_default());
            }
            At::Resources { versions } => {
                let version = versions.last().map_or("", String::as_str);
                request = format!("/apis/{version}");
            }
        }
        request
    }

    /// Takes in a page of a list, or what there are lists of.
    pub(super) fn page(&mut self, body: &[u8]) -> Result<Vec<Change>, Fault> {
        match &mut self.at {
            At::Versions => {
                let versions = discover::others(self.api, body).map_err(garbled)?;
                return Ok(self.look_into(versions));
            }
            At::Resources { versions } => {
                let is_there = discover::has(self.api, body).map_err(garbled)?;
                let mut versions = std::mem::take(versions);
                let version = versions.pop();
                if !is_there {
                    return Ok(self.look_into(versions));
                }
                self.other = version;
                self.at = START;
                return Ok(Vec::new());
            }
            At::List { .. } | At::Watch { .. } => {}
        }
        let page: Page<'_> = serde_json::from_slice(body).map_err(garbled)?;
        let items = page.items.unwrap_or_default();
        let mut changes = Vec::with_capacity(items.len() + 2);
        let pages = if let At::List {
            token: Some(_),
            pages,
        } = &self.at
        {
            *pages + 1
        } else {
            changes.push(Change::Begin);
            1
        };
        for item in items {
            let (id, _) = object(item)?;
            changes.push(Change::Put(id, item.to_owned()));
        }
        let ListMeta {
            resource_version: since,
            token,
        } = page.metadata;
        if token.len().max(since.len()) > LONGEST_TOKEN || pages > MOST_PAGES {
            return Err(Fault::Garbled("a list without an end".to_owned()));
        }
        if !token.is_empty() {
            let token = Some(token);
            self.at = At::List { token, pages };
        } else if since.is_empty() {
            return Err(Fault::Garbled("a list without a version".to_owned()));
        } else {
            changes.push(Change::End);
            self.at = At::Watch { since };
            self.is_complete = true;
            self.is_absent = false;
        }
        self.failures = 0;
        Ok(changes)
    }

    /// Takes in a line of a watch.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<Option<Change>, Fault> {
        let event: Event<'_> = serde_json::from_slice(line).map_err(garbled)?;
        if event.kind == "ERROR" {
            let status: Status = serde_json::from_str(event.object.get()).map_err(garbled)?;
            let Status { code, message } = status;
            return Err(Fault::Status { code, message });
        }
        let (id, since) = object(event.object)?;
        if since.is_empty() || since.len() > LONGEST_TOKEN {
            return Err(Fault::Garbled("an object without a version".to_owned()));
        }
        let change = match &*event.kind {
            "ADDED" | "MODIFIED" => Some(Change::Put(id, event.object.to_owned())),
            "DELETED" => Some(Change::Remove(id)),
            "BOOKMARK" => None,
            _ => return Err(Fault::Garbled("an unknown event".to_owned())),
        };
        self.at = At::Watch { since };
        self.failures = 0;
        Ok(change)
    }

    /// Looks into these versions of the group, the last one first.
    fn look_into(&mut self, versions: Vec<String>) -> Vec<Change> {
        if versions.is_empty() {
            return self.is_nowhere();
        }
        self.at = At::Resources { versions };
        Vec::new()
    }

    /// There is no such kind.
    fn is_nowhere(&mut self) -> Vec<Change> {
        self.at = START;
        self.version = 0;
        self.failures = 0;
        self.is_complete = true;
        self.is_absent = true;
        vec![Change::Begin, Change::End]
    }

    /// The server ended the watch, which is its right.
    pub(super) fn ended(&mut self, lasted: Duration) {
        if self.other.take().is_some() {
            // There may be one by now that is known.
            self.version = 0;
            self.at = START;
        }
        if lasted.as_nanos() < GOOD_WATCH.as_nanos() {
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// Takes in that there was no good answer. Returns what that says of objects, and what is wrong
    /// if it is worth telling.
    pub(super) fn failed(&mut self, fault: &Fault) -> (Vec<Change>, Option<String>) {
        let api = self.api;
        match fault {
            Fault::Status { code: 404, .. } if !self.is_watching() && self.other.is_none() => {
                let changes = self.not_there();
                let is_missed = !changes.is_empty() && !api.is_optional;
                let trouble = is_missed.then(|| {
                    let path = api.path(self.version());
                    format!("{path} is not there: is this the API of Kubernetes?")
                });
                return (changes, trouble);
            }
            Fault::TooLarge if !self.is_watching() && self.limit > 1 => {
                self.limit = (self.limit / 8).max(1);
                return (Vec::new(), None);
            }
            // What was known is too old, or the kind is gone.
            Fault::Status {
                code: 404 | 410, ..
            }
            | Fault::Garbled(_)
            | Fault::TooLarge => {
                self.at = START;
                self.other = None;
            }
            Fault::Status { .. } | Fault::Unreachable(_) => {
                if self.failures >= START_OVER {
                    self.at = START;
                }
            }
        }
        self.failures = self.failures.saturating_add(1);
        let is_refused = matches!(
            fault,
            Fault::Status {
                code: 401 | 403,
                ..
            }
        );
        let is_old = matches!(fault, Fault::Status { code: 410, .. });
        let is_trouble = is_refused || (!self.is_complete && !is_old) || self.failures >= PATIENCE;
        (Vec::new(), is_trouble.then(|| self.trouble(fault)))
    }

    /// It is not where it was looked for. Returns what that says of objects once it is nowhere.
    fn not_there(&mut self) -> Vec<Change> {
        match std::mem::replace(&mut self.at, START) {
            At::Versions => return self.is_nowhere(),
            At::Resources { mut versions } => {
                versions.pop();
                return self.look_into(versions);
            }
            At::List { .. } | At::Watch { .. } => {}
        }
        if self.version + 1 < self.api.versions.len() {
            self.version += 1;
        } else if self.api.discoverable().is_some() {
            self.at = At::Versions;
        } else {
            return self.is_nowhere();
        }
        Vec::new()
    }

    fn trouble(&self, fault: &Fault) -> String {
        let plural = self.api.plural;
        match fault {
            Fault::Status { code: 401, message } => {
                format!("the API server does not accept who flowmon says it is (401): {message}")
            }
            Fault::Status { code: 403, message }
                if matches!(self.at, At::Versions | At::Resources { .. }) =>
            {
                format!(
                    "{plural}: whether there are any is forbidden to ask: {message}; flowmon's service \
                     account must have the role system:discovery, as everybody has by default"
                )
            }
            Fault::Status { code: 403, message } => format!(
                "{plural}: forbidden: {message}; the role that flowmon has must let it list and \
                 watch them everywhere, as the one in deploy/kubernetes/flowmon.yaml does"
            ),
            Fault::Status { code, message } => format!("{plural}: status {code}: {message}"),
            Fault::TooLarge => format!("{plural}: there is an object larger than any should be"),
            Fault::Garbled(why) => format!("{plural}: the answer is not what it should be: {why}"),
            Fault::Unreachable(why) => format!("{plural}: {why}"),
        }
    }

    /// How long to wait before asking. `random` is any number: not all nodes should ask at once.
    pub(super) fn pause(&self, random: u64) -> Duration {
        let whole = if self.failures > 0 {
            let doublings = self.failures.min(8) - 1;
            (SHORTEST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
        } else if self.is_absent && self.version == 0 && matches!(self.at, At::List { .. }) {
            ABSENT_PAUSE
        } else {
            return Duration::ZERO;
        };
        let half = whole / 2;
        let percent = u32::try_from(random % 101).unwrap_or_default();
        half + half * percent / 100
    }
}

fn object(json: &RawValue) -> Result<(ObjectId, String), Fault> {
    let Object { metadata } = serde_json::from_str(json.get()).map_err(garbled)?;
    let id = ObjectId {
        namespace: metadata.namespace.into(),
        name: metadata.name.into(),
    };
    Ok((id, metadata.resource_version))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn garbled(error: serde_json::Error) -> Fault {
    // It may cite all that was said.
    let why = error.to_string();
    Fault::Garbled(why.chars().take(LONGEST_CITATION).collect())
}

/// Percent-encoding (RFC 3986, section 2.1).
fn push_encoded(text: &mut String, token: &str) {
    for byte in token.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _infallible = write!(text, "%{byte:02X}");
        }
    }
}
