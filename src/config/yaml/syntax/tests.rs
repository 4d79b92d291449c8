use crate::config::fault::Report;
use crate::config::yaml;

/// The line and the words of the one fault of a text.
fn fault(text: &str) -> (usize, String) {
    let mut report = Report::default();
    assert!(yaml::read(text, &mut report).is_none(), "{text}");
    let fault = report.faults.remove(0);
    (fault.line.unwrap(), fault.message)
}

#[test]
fn faults_of_beginners_are_named_at_their_line() {
    for (text, line, words) in [
        ("a:\n  b: 1\n\tc: 2\n", 3, "indented with a tab"),
        ("a:\n\tb: 1\n", 2, "indented with a tab"),
        ("a:\n  b: 1\n  \tc: 2\n", 3, "indented with a tab"),
        (
            "accounts:\n  - user: *@contoso.com\n    provider: m\n",
            2,
            "needs double quotes",
        ),
        (
            "accounts:\n  - { user: *@contoso.com, provider: m }\n",
            2,
            "needs double quotes",
        ),
        ("a:\n  - *x\n", 2, "needs double quotes"),
        (
            "a:\n  - b: 1\n   c: 2\n",
            3,
            "indented by 3, the one above it by 4",
        ),
        (
            "a:\n    b: 1\n  c: 2\n",
            3,
            "indented by 2, the one above it by 4",
        ),
        (
            "a:\n  b: 1\n    c: 2\n",
            3,
            "indented by 4, the one above it by 2",
        ),
        (
            "a:\n  - b: 1\n  c: 2\n",
            3,
            "indented by 2, the one above it by 4",
        ),
        ("a: b: c\n", 1, "a second colon"),
        ("a:\n  b\n  c: 1\n", 2, "without its colon"),
        ("a: \"b\nc: 1\n", 1, "quotation mark"),
    ] {
        let (at, said) = fault(text);
        assert!(
            at == line && said.contains(words),
            "{text}: line {at}: {said}"
        );
    }
}
