#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kubernetes::api::APIS;

fn of(plural: &str) -> Reflector {
    Reflector::new(APIS.iter().find(|api| api.plural == plural).unwrap())
}

fn page(version: &str, token: &str, names: &[&str]) -> Vec<u8> {
    let items: Vec<_> = names
        .iter()
        .map(|name| json!({"metadata": {"name": name, "namespace": "shop"}}))
        .collect();
    let list = json!({"metadata": {"resourceVersion": version, "continue": token}, "items": items});
    list.to_string().into_bytes()
}

fn event(kind: &str, version: &str) -> Vec<u8> {
    let object =
        json!({"metadata": {"name": "a", "namespace": "shop", "resourceVersion": version}});
    json!({"type": kind, "object": object})
        .to_string()
        .into_bytes()
}

fn gone() -> Fault {
    status(410)
}

const fn status(code: u16) -> Fault {
    Fault::Status {
        code,
        message: String::new(),
    }
}

/// As letters: begin, put, remove, end.
fn shape(changes: &[Change]) -> String {
    let letter = |change: &Change| match change {
        Change::Begin => 'b',
        Change::Put(..) => 'p',
        Change::Remove(_) => 'r',
        Change::End => 'e',
    };
    changes.iter().map(letter).collect()
}

#[test]
fn a_list_in_pages_then_a_watch() {
    let mut pods = of("pods");
    assert_eq!(pods.request(), "/api/v1/pods?limit=500");
    let first = pods.page(&page("7", "a+/=", &["a", "b"])).unwrap();
    assert_eq!(shape(&first), "bpp");
    assert_eq!(pods.request(), "/api/v1/pods?limit=500&continue=a%2B%2F%3D");
    let last = pods.page(&page("7", "", &["c"])).unwrap();
    assert_eq!(shape(&last), "pe");
    assert!(
        pods.request().ends_with("&resourceVersion=7"),
        "{}",
        pods.request()
    );
    let added = pods.line(&event("ADDED", "8")).unwrap();
    assert!(matches!(added, Some(Change::Put(id, _)) if &*id.name == "a"));
    assert!(matches!(
        pods.line(&event("DELETED", "9")),
        Ok(Some(Change::Remove(_)))
    ));
    assert!(matches!(pods.line(&event("BOOKMARK", "12")), Ok(None)));
    assert!(pods.request().ends_with("&resourceVersion=12"));
    // It ends, and goes on from there.
    pods.ended(Duration::from_mins(5));
    assert_eq!(pods.pause(0), Duration::ZERO);
    assert!(pods.request().ends_with("&resourceVersion=12"));
}

#[test]
fn what_is_too_old_begins_anew() {
    let mut pods = of("pods");
    pods.page(&page("7", "next", &["a"])).unwrap();
    let (changes, trouble) = pods.failed(&gone());
    assert!(changes.is_empty() && trouble.is_none(), "{trouble:?}");
    assert_eq!(pods.request(), "/api/v1/pods?limit=500");
    assert_eq!(shape(&pods.page(&page("9", "", &["a"])).unwrap()), "bpe");
    let error = json!({"type": "ERROR", "object": {"code": 410}}).to_string();
    let fault = pods.line(error.as_bytes()).unwrap_err();
    assert!(pods.failed(&fault).1.is_none());
    assert_eq!(pods.request(), "/api/v1/pods?limit=500");
    assert_eq!(shape(&pods.page(&page("9", "", &[])).unwrap()), "be");
}

#[test]
fn what_is_not_there_is_known_to_be_nothing_and_looked_for_again() {
    let mut slices = of("endpointslices");
    assert!(slices.failed(&status(404)).0.is_empty());
    assert!(
        slices
            .request()
            .starts_with("/apis/discovery.k8s.io/v1beta1/")
    );
    assert_eq!(slices.pause(0), Duration::ZERO);
    let (changes, trouble) = slices.failed(&status(404));
    assert_eq!((shape(&changes).as_str(), trouble), ("be", None));
    assert!(slices.pause(0) >= ABSENT_PAUSE / 2);
    assert!(slices.request().starts_with("/apis/discovery.k8s.io/v1/"));
    slices.page(&page("7", "", &["a"])).unwrap();
    // Taken away while it is watched.
    slices.failed(&status(404));
    slices.failed(&status(404));
    let (changes, _) = slices.failed(&status(404));
    assert_eq!(shape(&changes), "be");
}

fn group(versions: &[&str]) -> Vec<u8> {
    let version = |it: &&str| json!({"groupVersion": format!("policy.networking.k8s.io/{it}")});
    let versions: Vec<_> = versions.iter().map(version).collect();
    json!({"versions": versions}).to_string().into_bytes()
}

fn resources(names: &[&str]) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
    json!({"resources": names}).to_string().into_bytes()
}

#[test]
fn policies_are_looked_for_in_versions_to_come() {
    let mut policies = of("adminnetworkpolicies");
    assert!(policies.failed(&status(404)).0.is_empty());
    assert_eq!(policies.pause(0), Duration::ZERO);
    assert_eq!(policies.request(), "/apis/policy.networking.k8s.io");
    // Those that are known were asked; what is no version is not asked for.
    let versions = group(&["v3", "v1alpha1", "../../api", "v2"]);
    assert!(policies.page(&versions).unwrap().is_empty());
    assert_eq!(policies.request(), "/apis/policy.networking.k8s.io/v3");
    let others = resources(&["adminnetworkpolicies/status"]);
    assert!(policies.page(&others).unwrap().is_empty());
    assert_eq!(policies.request(), "/apis/policy.networking.k8s.io/v2");
    let there = resources(&["adminnetworkpolicies"]);
    assert!(policies.page(&there).unwrap().is_empty());
    assert_eq!(policies.version(), "policy.networking.k8s.io/v2");
    let list = "/apis/policy.networking.k8s.io/v2/adminnetworkpolicies?limit=500";
    assert_eq!(policies.request(), list);
    let listed = policies.page(&page("7", "", &["a"])).unwrap();
    assert_eq!(shape(&listed), "bpe");
    // Once in a while it is found out whether there is one that is known.
    policies.ended(Duration::from_mins(5));
    assert_eq!(policies.version(), "policy.networking.k8s.io/v1alpha1");
    assert!(!policies.is_watching());
}

#[test]
fn policies_in_no_version_are_none() {
    for versions in [Some(group(&["v1alpha1", "v2"])), Some(group(&[])), None] {
        let mut policies = of("adminnetworkpolicies");
        policies.failed(&status(404));
        let mut changes = match versions {
            Some(versions) => policies.page(&versions).unwrap(),
            None => policies.failed(&status(404)).0,
        };
        if changes.is_empty() {
            changes = policies.failed(&status(404)).0;
        }
        assert_eq!(shape(&changes), "be");
        assert!(policies.pause(0) >= ABSENT_PAUSE / 2);
        assert!(!policies.request().ends_with("k8s.io"));
    }
}

/// A server that says it has what it has not is not asked without a rest.
#[test]
fn a_version_that_is_not_there_after_all_is_looked_for_with_pauses() {
    let mut policies = of("adminnetworkpolicies");
    for _ in 0..3 {
        policies.failed(&status(404));
        policies.page(&group(&["v2"])).unwrap();
        policies
            .page(&resources(&["adminnetworkpolicies"]))
            .unwrap();
        let (changes, trouble) = policies.failed(&status(404));
        assert!(changes.is_empty());
        assert!(trouble.unwrap().contains("404"));
        assert!(policies.pause(0) > Duration::ZERO);
    }
}

#[test]
fn what_there_is_may_be_forbidden_to_ask() {
    let mut policies = of("adminnetworkpolicies");
    policies.failed(&status(404));
    let (changes, trouble) = policies.failed(&status(403));
    assert!(changes.is_empty(), "it is not known that there are none");
    assert!(trouble.unwrap().contains("system:discovery"));
}

#[test]
fn pages_become_smaller_until_they_pass() {
    let mut pods = of("pods");
    let mut limits = Vec::new();
    loop {
        let limit = pods.request().rsplit('=').next().unwrap().to_owned();
        limits.push(limit);
        if let (_, Some(trouble)) = pods.failed(&Fault::TooLarge) {
            assert!(trouble.contains("larger than any should be"));
            break;
        }
    }
    assert_eq!(limits, ["500", "62", "7", "1"]);
}

#[test]
fn who_fails_is_left_alone_longer_and_longer() {
    let mut pods = of("pods");
    pods.page(&page("7", "", &[])).unwrap();
    let fault = Fault::Unreachable("gone".to_owned());
    let mut pauses = Vec::new();
    for time in 0..10 {
        let (_, trouble) = pods.failed(&fault);
        assert_eq!(trouble.is_some(), time > 0, "once is not worth telling");
        let (shortest, longest) = (pods.pause(0), pods.pause(100));
        assert_eq!(shortest * 2, longest);
        pauses.push(longest);
    }
    assert!(pauses.is_sorted());
    assert_eq!((pauses[0], pauses[9]), (SHORTEST_PAUSE, LONGEST_PAUSE));
    assert!(!pods.is_watching(), "what is known may be of no use by now");
    pods.page(&page("8", "", &[])).unwrap();
    assert_eq!(pods.pause(0), Duration::ZERO);
    // Who ends every watch at once is no better.
    pods.ended(Duration::ZERO);
    assert!(pods.pause(0) > Duration::ZERO);
}

#[test]
fn lists_without_an_end_or_a_version_are_refused() {
    let mut pods = of("pods");
    pods.page(&page("", "", &[])).unwrap_err();
    pods.page(&page("7", &"x".repeat(LONGEST_TOKEN + 1), &[]))
        .unwrap_err();
    for _ in 0..MOST_PAGES {
        pods.page(&page("7", "on", &[])).unwrap();
    }
    pods.page(&page("7", "on", &[])).unwrap_err();
}

#[test]
fn of_nonsense_little_is_told() {
    let mut pods = of("pods");
    let nonsense = json!({"metadata": "x".repeat(1 << 20)}).to_string();
    let fault = pods.page(nonsense.as_bytes()).unwrap_err();
    let (_, trouble) = pods.failed(&fault);
    assert!(trouble.unwrap().len() < 300);
}

#[derive(Debug, Clone)]
enum Answer {
    Page(bool),
    Line(&'static str),
    Text(String),
    Fails(u16),
    TooLarge,
    Ended,
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let answer = prop_oneof![
        any::<bool>().prop_map(Answer::Page),
        prop_oneof![Just("ADDED"), Just("BOOKMARK"), Just("ERROR"), Just("?")]
            .prop_map(Answer::Line),
        "\\PC{0,30}".prop_map(Answer::Text),
        prop_oneof![Just(401), Just(403), Just(404), Just(410), Just(500)].prop_map(Answer::Fails),
        Just(Answer::TooLarge),
        Just(Answer::Ended),
    ];
    proptest::collection::vec(answer, 0..60)
}

proptest! {
    /// Whatever came before, a good server is understood; and ends are of what has begun.
    #[test]
    fn nothing_is_lost_for_good(answers in answers(), api in 0..APIS.len()) {
        let mut reflector = Reflector::new(&APIS[api]);
        let mut is_open = false;
        let mut look = |changes: &[Change]| {
            for change in changes {
                match change {
                    Change::Begin => is_open = true,
                    Change::End => assert!(std::mem::take(&mut is_open)),
                    _ => {}
                }
            }
        };
        for answer in answers {
            let result = match answer {
                Answer::Page(is_last) if !reflector.is_watching() => {
                    reflector.page(&page("7", if is_last { "" } else { "on" }, &["a"])).map(|it| look(&it))
                }
                Answer::Line(kind) if reflector.is_watching() => {
                    reflector.line(&event(kind, "8")).map(drop)
                }
                Answer::Text(text) if reflector.is_watching() => {
                    reflector.line(text.as_bytes()).map(drop)
                }
                Answer::Text(text) => reflector.page(text.as_bytes()).map(|it| look(&it)),
                Answer::Fails(code) => Err(status(code)),
                Answer::TooLarge => Err(Fault::TooLarge),
                Answer::Ended if reflector.is_watching() => {
                    reflector.ended(Duration::ZERO);
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err(fault) = result {
                look(&reflector.failed(&fault).0);
            }
            prop_assert!(reflector.pause(u64::MAX) <= LONGEST_PAUSE);
            prop_assert!(reflector.limit >= 1);
        }
        while !reflector.request().contains('?') {
            look(&reflector.failed(&status(404)).0);
        }
        if !reflector.is_watching() {
            look(&reflector.page(&page("9", "", &["a"])).unwrap());
        }
        prop_assert!(reflector.is_watching());
        reflector.line(&event("ADDED", "10")).unwrap();
        prop_assert_eq!(reflector.pause(0), Duration::ZERO);
    }
}
