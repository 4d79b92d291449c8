//! The picture in `docs/architecture.md`: rooms, floors, arrows and sizes, as the reader finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::reader::House;
use crate::{MAY_USE, arrows, house};

const BEGIN: &str = "<!-- rooms: written by tests/walls -->\n";
const END: &str = "<!-- end of rooms -->\n";

type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Each room's floor: one above the highest of those it uses.
pub(crate) fn floors(arrows: &Arrows) -> BTreeMap<String, usize> {
    let mut floors = BTreeMap::new();
    for room in arrows.keys() {
        floor(arrows, room, &mut floors, &mut Vec::new());
    }
    floors
}

fn floor(
    arrows: &Arrows,
    room: &str,
    known: &mut BTreeMap<String, usize>,
    way: &mut Vec<String>,
) -> usize {
    assert!(
        !way.iter().any(|one| one == room),
        "a circle: {} -> {room}",
        way.join(" -> ")
    );
    if let Some(floor) = known.get(room) {
        return *floor;
    }
    way.push(room.to_owned());
    let below = arrows.get(room).into_iter().flatten();
    let below = below.map(|other| floor(arrows, other, known, way) + 1);
    let own = below.max().unwrap_or(0);
    way.pop();
    known.insert(room.to_owned(), own);
    own
}

/// Files and lines of a room, and lines of its files that only tests have.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Size {
    files: usize,
    lines: usize,
    tests: usize,
}

impl Size {
    /// Near enough that the picture still tells the truth: not every commit has to draw it again.
    fn is_near(self, other: Self) -> bool {
        let near = |a: usize, b: usize| a.abs_diff(b) <= a.max(b) / 10 + 2;
        near(self.files, other.files)
            && near(self.lines, other.lines)
            && near(self.tests, other.tests)
    }
}

fn sizes(house: &House) -> BTreeMap<String, Size> {
    let mut sizes: BTreeMap<String, Size> = BTreeMap::new();
    for source in &house.sources {
        let size = sizes.entry(source.room().to_owned()).or_default();
        size.files += 1;
        if source.test {
            size.tests += source.lines;
        } else {
            size.lines += source.lines;
        }
    }
    sizes
}

/// The sizes that a drawn picture tells.
fn drawn_sizes(text: &str) -> BTreeMap<String, Size> {
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(2);
        let room = cells.next()?.trim_matches('`').to_owned();
        let mut number = || cells.next()?.parse().ok();
        let (files, lines, tests) = (number()?, number()?, number()?);
        let size = Size {
            files,
            lines,
            tests,
        };
        Some((room, size))
    });
    rows.collect()
}

fn draw(arrows: &Arrows, sizes: &BTreeMap<String, Size>) -> String {
    let floors = floors(arrows);
    let mut rooms: Vec<_> = arrows.keys().collect();
    rooms.sort_by_key(|room| (std::cmp::Reverse(floors[*room]), *room));
    let mut out = String::from(
        "| floor | room | files | lines | of tests | uses |\n|--:|---|--:|--:|--:|---|\n",
    );
    for room in &rooms {
        let Size {
            files,
            lines,
            tests,
        } = sizes[*room];
        let used: Vec<_> = arrows[*room].iter().map(|one| format!("`{one}`")).collect();
        let used = if used.is_empty() {
            "nothing of ours".to_owned()
        } else {
            used.join(", ")
        };
        let floor = floors[*room];
        writeln!(
            out,
            "| {floor} | `{room}` | {files} | {lines} | {tests} | {used} |"
        )
        .unwrap();
    }
    out.push_str(
        "\nArrows that a longer way contains are left out here:\n\n```mermaid\ngraph TD\n",
    );
    for room in &rooms {
        for other in direct(arrows, room) {
            writeln!(out, "  {room} --> {other}").unwrap();
        }
    }
    out.push_str("```\n");
    out
}

/// The arrows of a room that no other way leads to.
fn direct<'a>(arrows: &'a Arrows, room: &str) -> impl Iterator<Item = &'a String> {
    let used = &arrows[room];
    used.iter().filter(move |other| {
        let mut ways = used.iter().filter(|way| way != other);
        !ways.any(|way| leads_to(arrows, way, other))
    })
}

fn leads_to(arrows: &Arrows, from: &str, to: &str) -> bool {
    let mut used = arrows.get(from).into_iter().flatten();
    used.any(|one| one == to || leads_to(arrows, one, to))
}

/// `UPDATE_DOCS=1` writes it anew.
#[test]
fn the_picture_is_the_house() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the block of the rooms");
    let (drawn, after) = rest.split_once(END).expect("the end of that block");
    let house = house();
    let (arrows, mut sizes) = (arrows(&house), sizes(&house));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let drawn = draw(&arrows, &sizes);
        fs::write(&file, format!("{before}{BEGIN}{drawn}{END}{after}")).unwrap();
        return;
    }
    let drawn_sizes = drawn_sizes(drawn);
    for (room, size) in &mut sizes {
        if let Some(drawn) = drawn_sizes.get(room).filter(|drawn| drawn.is_near(*size)) {
            *size = *drawn;
        }
    }
    assert_eq!(
        drawn,
        draw(&arrows, &sizes),
        "docs/architecture.md shows another house: UPDATE_DOCS=1 cargo test --test walls"
    );
}

#[test]
fn every_room_is_described() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let text = fs::read_to_string(&file).unwrap();
    let rooms = MAY_USE.iter().map(|(room, _)| *room);
    let there = arrows(&house());
    for room in rooms.filter(|room| there.contains_key(*room) && *room != "environment") {
        assert!(text.contains(&format!("\n| `{room}` | ")), "{room}: no row");
    }
}

#[test]
#[should_panic(expected = "a circle: net -> oauth -> net")]
fn a_circle_is_told() {
    let arrow = |to: &str| BTreeSet::from([to.to_owned()]);
    floors(&Arrows::from([
        ("net".to_owned(), arrow("oauth")),
        ("oauth".to_owned(), arrow("net")),
    ]));
}
