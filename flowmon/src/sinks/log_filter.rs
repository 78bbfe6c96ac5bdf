//! Which records the flow log is for. What it is not for is no loss.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use globset::GlobMatcher;

use super::{Overview, Sink, Told, WriterEnd};
use crate::{
    clock::Moment,
    model::{Endpoint, Outcome, Summary},
};

/// What a record must be of, by what it says itself: a record that comes before the endpoint's name is known
/// has none, and is told again when it is. A list without items takes everything.
#[derive(Debug, Clone, Default)]
pub struct LogFilter {
    /// Namespaces of the endpoint, one of which must match.
    pub namespaces: Vec<GlobMatcher>,
    /// Names of the endpoint, or of its interface where it has none.
    pub endpoints: Vec<GlobMatcher>,
    /// Verdicts, one of which it must have; `None` is no verdict.
    pub verdicts: Vec<Option<Outcome>>,
    /// Only what policies deny.
    pub only_violations: bool,
}

impl LogFilter {
    fn takes(&self, endpoint: &Endpoint, verdict: Option<Outcome>) -> bool {
        let identity = &endpoint.identity;
        let matches = |globs: &[GlobMatcher], text: Option<&str>| {
            globs.is_empty() || text.is_some_and(|text| globs.iter().any(|it| it.is_match(text)))
        };
        let name = identity.name.as_deref();
        (!self.only_violations || verdict == Some(Outcome::Denied))
            && (self.verdicts.is_empty() || self.verdicts.contains(&verdict))
            && matches(&self.namespaces, identity.namespace.as_deref())
            && matches(&self.endpoints, name.or(Some(&endpoint.interface)))
    }
}

/// A sink that is told of some flows only, and of the whole; and that counts what its file could not take.
pub struct Logged<S> {
    sink: S,
    lost: Arc<AtomicU64>,
    filter: LogFilter,
}

impl<S: Sink> Logged<S> {
    /// Tells `sink`, whose file loses `lost`.
    pub const fn new(sink: S, lost: Arc<AtomicU64>, filter: LogFilter) -> Self {
        Self { sink, lost, filter }
    }
}

impl<S: Sink> Sink for Logged<S> {
    fn flow(&mut self, told: &Told<'_>) {
        let verdict = told.verdict.map(|verdict| verdict.outcome);
        if self.filter.takes(told.endpoint, verdict) {
            self.sink.flow(told);
        }
    }

    fn interval(&mut self, overview: &Overview, now: &Moment) {
        self.sink.interval(overview, now);
    }

    fn flush(&mut self) {
        self.sink.flush();
    }

    fn be_patient(&mut self) {
        self.sink.be_patient();
    }

    fn lost(&self) -> u64 {
        self.sink.lost() + self.lost.load(Ordering::Relaxed)
    }

    fn finish(self: Box<Self>, summary: &Summary) -> WriterEnd {
        let Self { sink, .. } = *self;
        Box::new(sink).finish(summary)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use globset::Glob;

    use super::*;
    use crate::model::{EndpointKind, Identity};

    const VERDICTS: [Option<Outcome>; 4] = [
        Some(Outcome::Allowed),
        Some(Outcome::Denied),
        Some(Outcome::Undecided),
        None,
    ];

    fn endpoint(namespace: Option<&str>, name: Option<&str>) -> Endpoint {
        Endpoint {
            interface: "veth7".to_owned(),
            ifindex: 7,
            identity: Arc::new(Identity {
                namespace: namespace.map(Into::into),
                name: name.map(Into::into),
                ..Identity::nameless(EndpointKind::Pod)
            }),
        }
    }

    fn globs(texts: &[&str]) -> Vec<GlobMatcher> {
        let globs = texts.iter().map(|text| Glob::new(text).unwrap());
        globs.map(|glob| glob.compile_matcher()).collect()
    }

    #[test]
    fn without_lists_everything_is_taken() {
        for endpoint in [endpoint(None, None), endpoint(Some("shop"), Some("cart"))] {
            for verdict in VERDICTS {
                assert!(LogFilter::default().takes(&endpoint, verdict));
            }
        }
    }

    #[test]
    fn namespaces_endpoints_and_verdicts_must_all_match() {
        let filter = LogFilter {
            namespaces: globs(&["shop", "team-*"]),
            endpoints: globs(&["cart-?"]),
            verdicts: vec![Some(Outcome::Undecided), None],
            only_violations: false,
        };
        let takes = |namespace, name, verdict| filter.takes(&endpoint(namespace, name), verdict);
        let name = Some("cart-1");
        assert!(takes(Some("shop"), name, None));
        assert!(takes(Some("team-a"), name, Some(Outcome::Undecided)));
        for namespace in [None, Some("shops"), Some("bank"), Some("")] {
            assert!(!takes(namespace, name, None), "{namespace:?}");
        }
        for name in [None, Some("cart"), Some("cart-12")] {
            assert!(!takes(Some("shop"), name, None), "{name:?}");
        }
        for verdict in [Outcome::Allowed, Outcome::Denied] {
            assert!(!takes(Some("shop"), name, Some(verdict)), "{verdict:?}");
        }
    }

    #[test]
    fn who_has_no_name_is_called_by_the_interface() {
        let filter = LogFilter {
            endpoints: globs(&["veth*"]),
            ..LogFilter::default()
        };
        assert!(filter.takes(&endpoint(None, None), None));
        assert!(!filter.takes(&endpoint(None, Some("cart")), None));
    }

    #[test]
    fn violations_are_what_is_denied() {
        let filter = LogFilter {
            only_violations: true,
            ..LogFilter::default()
        };
        let taken = VERDICTS.map(|verdict| filter.takes(&endpoint(None, None), verdict));
        assert_eq!(taken, [false, true, false, false]);
    }
}
