//! What can be said in a scenario, and what is said of mistakes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use flowmon::{
    policy::Place,
    scenario::{Cell, Scenario, read},
};

const CAST: &str = "policies: it.yaml
pods:
  shop/web: {labels: {app: web}}
  shop/cart: {labels: {app: cart}, ports: {http: 8080}}
  shop/redis: {labels: {app: redis}, ports: {redis: 6379}}
  bank/teller: {}
outside:
  internet: 203.0.113.7
expect:
";

fn scenario(text: &str) -> Scenario {
    read(&"it".into(), text).unwrap()
}

fn cells(expect: &str) -> Vec<Cell> {
    let scenario = scenario(&format!("{CAST}{expect}"));
    scenario.cells(&scenario.cast).unwrap()
}

/// `shop/web -> shop/cart, 80: allowed`
fn lines(cells: &[Cell]) -> Vec<String> {
    let line = |cell: &Cell| {
        let it = &cell.expected;
        let (from, to, port) = (&it.from.text, &it.to.text, &it.port.text);
        format!("{from} -> {to}, {port}: {}", it.outcome.label())
    };
    cells.iter().map(line).collect()
}

/// What is wrong, with line and column.
fn problems(text: &str) -> Vec<String> {
    let found = match read(&"it".into(), text) {
        Ok(scenario) => scenario.cells(&scenario.cast).unwrap_err(),
        Err(problems) => problems,
    };
    let line = |place: &Place| format!("{}:{}", place.line, place.column);
    let found = found.iter();
    found
        .map(|it| format!("{} {}", line(&it.place), it.message))
        .collect()
}

#[test]
fn lists_are_every_pair_at_every_port() {
    let cells = cells(
        "  - {from: [shop/web, internet], to: shop/cart, port: [80, http], expect: denied, because: no-rule-matched}\n",
    );
    assert_eq!(
        lines(&cells),
        [
            "shop/web -> shop/cart, 80: denied",
            "shop/web -> shop/cart, http: denied",
            "internet -> shop/cart, 80: denied",
            "internet -> shop/cart, http: denied",
        ]
    );
    assert_eq!(cells[1].connection.port, Some(8080));
    assert_eq!(
        cells[0].expected.because.as_deref(),
        Some("no-rule-matched")
    );
}

#[test]
fn a_table_is_a_cell_for_each_mark() {
    let cells = cells(
        r"  - port: [6379, 53/udp]
    table: |

      from\to    shop/redis  internet

      # whoever else asks
      shop/cart  .           -
      internet   X           -
      shop/web   undecided   denied
",
    );
    assert_eq!(
        lines(&cells),
        [
            "shop/cart -> shop/redis, 6379: allowed",
            "shop/cart -> shop/redis, 53/udp: allowed",
            "internet -> shop/redis, 6379: denied",
            "internet -> shop/redis, 53/udp: denied",
            "shop/web -> shop/redis, 6379: undecided",
            "shop/web -> shop/redis, 53/udp: undecided",
            "shop/web -> internet, 6379: denied",
            "shop/web -> internet, 53/udp: denied",
        ]
    );
    let place = &cells[4].expected.from.place;
    assert_eq!((place.line, place.column), (18, 7));
    let place = &cells[4].expected.to.place;
    assert_eq!((place.line, place.column), (13, 18));
}

#[test]
fn many_are_meant_at_once_but_nobody_with_themselves() {
    let found = lines(&cells(
        "  - {from: shop/*, to: shop/*, port: 80, expect: allowed}\n",
    ));
    assert_eq!(found.len(), 6);
    assert!(
        !found
            .iter()
            .any(|line| line.starts_with("shop/web -> shop/web"))
    );
    let found = lines(&cells(
        "  - {from: everyone, to: everyone, port: 80, expect: allowed}\n",
    ));
    // Four pods to four others each, and from outside to each of them.
    assert_eq!(found.len(), 4 * 4 + 4);
    // Who is named is meant.
    let found = lines(&cells(
        "  - {from: shop/web, to: shop/web, port: 80, expect: allowed}\n",
    ));
    assert_eq!(found, ["shop/web -> shop/web, 80: allowed"]);
}

#[test]
fn only_these_means_nobody_else() {
    let found = lines(&cells(
        "  - {from: shop/cart, to: shop/redis, port: redis, only: from}\n",
    ));
    assert_eq!(
        found,
        [
            "shop/cart -> shop/redis, redis: allowed",
            "bank/teller -> shop/redis, redis: denied",
            "shop/web -> shop/redis, redis: denied",
            "internet -> shop/redis, redis: denied",
        ]
    );
    let found = lines(&cells(
        "  - {from: shop/web, to: [shop/cart, internet, 198.51.100.1], port: 443, only: to}\n",
    ));
    assert_eq!(
        found,
        [
            "shop/web -> shop/cart, 443: allowed",
            "shop/web -> internet, 443: allowed",
            "shop/web -> 198.51.100.1, 443: allowed",
            "shop/web -> bank/teller, 443: denied",
            "shop/web -> shop/redis, 443: denied",
        ]
    );
    let found = lines(&cells(
        "  - {from: [], to: shop/redis, port: 22, only: from}\n",
    ));
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|line| line.ends_with("denied")));
}

#[test]
fn a_service_is_asked_at_its_own_port() {
    let text = format!(
        "{}services:
  shop/store:
    selector: {{app: redis}}
    ports: {{80: redis, 53/udp: 5353}}
  shop/other:
    addresses: 10.96.9.9
    backends: [shop/cart, internet]
    ports: {{443: 8443}}
expect:
  - {{from: shop/web, to: shop/store, port: [80, 53/udp], expect: allowed}}
  - {{from: shop/web, to: shop/other, port: 443, expect: allowed}}
",
        CAST.strip_suffix("expect:\n").unwrap()
    );
    let scenario = scenario(&text);
    let cells = scenario.cells(&scenario.cast).unwrap();
    let addresses: Vec<String> = cells
        .iter()
        .map(|cell| cell.connection.responder.address.to_string())
        .collect();
    assert_eq!(addresses, ["10.96.0.1", "10.96.0.1", "10.96.9.9"]);
    let endpoints: Vec<_> = scenario.cast.services.values().collect();
    let other = endpoints[0].endpoints.as_ref().unwrap();
    assert_eq!(other.len(), 2);
    assert_eq!(other[0].port, 8443);
}

#[test]
fn both_families_are_two_cells_and_must_both_fit() {
    let text = "policies: it.yaml
pods:
  a/both: {addresses: [10.0.0.1, 'fd00::1']}
  a/too: {addresses: ['fd00::2', 10.0.0.2]}
  a/six: {addresses: 'fd00::3'}
  a/four: {addresses: 10.0.0.4}
expect:
";
    let of = |expect: &str| {
        let scenario = scenario(&format!("{text}{expect}"));
        let cells = scenario.cells(&scenario.cast).unwrap();
        cells.iter().map(|cell| cell.family).collect::<Vec<_>>()
    };
    let named = "  - {from: a/both, to: [a/too, a/six, a/four], port: 80, expect: allowed}\n";
    assert_eq!(of(named), [Some("IPv4"), Some("IPv6"), None, None]);
    // Of many, those who have no family in common can't be meant.
    let only = "  - {from: a/both, to: a/six, port: 80, only: from}\n";
    assert_eq!(of(only), [None, None]);
    let wrong = format!("{text}  - {{from: a/four, to: a/six, port: 80, expect: denied}}\n");
    assert_eq!(
        problems(&wrong),
        ["8:24 a/four and a/six have no addresses of the same family"]
    );
}

/// With something wrong instead of what is right, this is told first.
fn assert_mistake(scenario: &str, right: &str, wrong: &str, want: &str) {
    let found = problems(&scenario.replacen(right, wrong, 1));
    assert!(found[0].starts_with(want), "{wrong}: {found:?}");
}

#[test]
fn mistakes_are_told_with_their_place() {
    let base = format!("{CAST}  - {{from: shop/web, to: shop/cart, port: 80, expect: allowed}}\n");
    assert!(read(&"it".into(), &base).is_ok());
    for (right, wrong, want) in [
        (
            "expect: allowed",
            "expekt: allowed",
            "10:47 unknown field `expekt`; known here: port, table, only, from, to, because, expect",
        ),
        (
            "expect: allowed",
            "only: all",
            "10:53 `all`: only those who are named in `from`, or in `to`?",
        ),
        (
            "expect: allowed",
            "only: from, because: x",
            "10:59 unknown field `because`",
        ),
        (
            "expect: allowed",
            "expect: allowed, only: from",
            "10:47 unknown field `expect`",
        ),
        (
            ", expect: allowed",
            "",
            "10:5 what is expected? One of `expect`, `only` and `table` is missing",
        ),
        (
            "shop/web,",
            "shop/wep,",
            "10:12 there is no pod `shop/wep` in this scenario, but shop/cart, shop/redis, shop/web",
        ),
        (
            "shop/web,",
            "inter,",
            "10:12 `inter` is no outside peer, no address and no NAMESPACE/NAME",
        ),
        (
            "shop/web,",
            "nowhere/*,",
            "10:12 there is no pod in `nowhere`",
        ),
        (
            "port: 80",
            "port: https",
            "10:43 `https`: expected a port like 443, 53/udp or 3868/sctp, or icmp or icmpv6, or a name of a port of shop/cart",
        ),
        (
            "port: 80",
            "port: []",
            "10:43 there is nothing in this list",
        ),
        (
            "internet:",
            "everyone:",
            "8:13 an outside peer has a plain name",
        ),
        (
            "203.0.113.7",
            "203.0.113",
            "8:13 `203.0.113` is no IP address",
        ),
        (
            "{app: web}",
            "[web]",
            "3:22 expected an object, this is a list",
        ),
        (
            "http: 8080",
            "http: 80800",
            "4:50 `80800`: expected a port like 8080",
        ),
        (
            "bank/teller",
            "shop/redis",
            "6:3 `shop/redis` is there already",
        ),
        ("outside:", "outsiders:", "7:1 unknown field `outsiders`"),
        ("policies: it.yaml", "policies: [", "3:11 while parsing"),
    ] {
        assert_mistake(&base, right, wrong, want);
    }
}

#[test]
fn mistakes_in_a_table_are_told_with_their_place() {
    let table = r"  - port: 80
    table: |
      from\to   shop/cart  internet
      shop/web  .          X
";
    let text = format!("{CAST}{table}");
    assert!(read(&"it".into(), &text).is_ok());
    for (right, wrong, want) in [
        (
            r"from\to ",
            "shop/web",
            "12:7 after `|`, the first line of a table is",
        ),
        (
            "table: |",
            "table: >",
            "12:7 nothing is expected in this table",
        ),
        ("  X\n", "\n", "13:7 this line has 1 cells, for 2 to whom"),
        ("  X\n", "  Y\n", "13:28 `Y`: expected `.` (allowed)"),
        (
            ".          X",
            "-          -",
            "12:7 nothing is expected in this table",
        ),
        (
            "shop/cart  int",
            "shop/card  int",
            "12:17 there is no pod `shop/card` in this scenario",
        ),
        (
            "shop/web  .",
            "shop/wep  .",
            "13:7 there is no pod `shop/wep` in this scenario",
        ),
        (
            "port: 80",
            "port: 80\n    from: x",
            "11:5 unknown field `from`; known here: port, table",
        ),
    ] {
        assert_mistake(&text, right, wrong, want);
    }
}

#[test]
fn what_contradicts_itself_is_told() {
    let text = format!(
        "{CAST}  - {{from: shop/web, to: shop/redis, port: redis, expect: allowed}}
  - {{from: shop/web, to: shop/redis, port: 6379, expect: allowed}}
  - {{from: shop/cart, to: shop/redis, port: 6379, only: from}}
"
    );
    assert_eq!(
        problems(&text),
        [
            "12:57 shop/web -> shop/redis, 6379/tcp is expected to be denied here, and allowed at it:10:12"
        ]
    );
}

#[test]
fn mistakes_in_services_are_told_with_their_place() {
    let service = "services:
  shop/store:
    selector: {app: redis}
    ports: {80: redis}
";
    let cast = CAST.strip_suffix("expect:\n").unwrap();
    let expect = "expect:\n  - {from: shop/web, to: shop/store, port: 80, expect: allowed}\n";
    let text = format!("{cast}{service}{expect}");
    assert!(read(&"it".into(), &text).is_ok());
    for (right, wrong, want) in [
        (
            "selector: {app: redis}",
            "backends: shop/radish",
            "11:15 `shop/radish` is no pod",
        ),
        (
            "selector: {app: redis}",
            "backends: shop/web",
            "11:15 shop/web has no TCP port `redis`",
        ),
        (
            "selector: {app: redis}",
            "selector: {app: radish}",
            "11:15 it selects no pod of `shop`",
        ),
        (
            "    selector: {app: redis}\n",
            "",
            "11:5 who answers is said by either `selector` or `backends`",
        ),
        (
            "80: redis",
            "http: redis",
            "12:19 `http`: a service listens at a port like 80 or 53/udp",
        ),
        ("80: redis", "", "12:12 a service has a port at least"),
        ("shop/store:", "shop/web:", "11:5 there is a pod `shop/web`"),
        (
            "ports: {80",
            "addresses: 10.244.0.1\n    ports: {80",
            "12:16 10.244.0.1 is the address of bank/teller already",
        ),
        (
            "from: shop/web",
            "from: shop/store",
            "14:12 `shop/store` is a service: it opens no connections",
        ),
        ("port: 80", "port: http", "14:44 `http`: expected a port"),
        (
            "port: 80",
            "port: 6379",
            "14:44 the service shop/store does not listen at 6379/tcp, but at 80/tcp",
        ),
    ] {
        assert_mistake(&text, right, wrong, want);
    }
}

#[test]
fn more_cells_than_anybody_reads_are_refused_at_once() {
    use std::fmt::Write as _;
    let mut text = "policies: it.yaml\npods:\n".to_owned();
    for number in 0..20_000 {
        writeln!(text, "  a/p{number}: {{}}").unwrap();
    }
    text.push_str("expect:\n  - {from: everyone, to: everyone, port: 80, expect: allowed}\n");
    assert_eq!(
        problems(&text),
        ["20004:12 more than 100000 cells are expected"]
    );
    let only = text.replace(
        "to: everyone, port: 80, expect: allowed",
        "to: [a/p1, a/*], port: 80, only: from",
    );
    assert_eq!(
        problems(&only),
        ["20004:12 more than 100000 cells are expected"]
    );
    let again = "  - {from: a/p1, to: a/*, port: [1, 2, 3, 4, 5, 6], expect: denied}\n";
    let many = text
        .replace("  - {from: everyone", "  - {from: a/p2")
        .replace("expect: allowed}\n", &format!("expect: allowed}}\n{again}"));
    assert_eq!(
        problems(&many),
        ["20005:12 more than 100000 cells are expected"]
    );
}

#[test]
fn the_example_in_the_documentation_is_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/testing.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, example) = document.split_once("```yaml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let scenario = scenario(example);
    let cells = scenario.cells(&scenario.cast).unwrap();
    assert!(cells.len() > 10, "{}", cells.len());
}
