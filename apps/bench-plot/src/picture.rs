// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rows as a picture: bars side by side on a logarithmic scale, as SVG and as PNG.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use bench_report::{Row, base_names, find, quantity, vcpus_text};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use resvg::{tiny_skia, usvg};

use crate::series::{SERIES, split};

/// What is drawn.
#[derive(Debug)]
pub(crate) struct Drawing<'a> {
    pub(crate) title: &'a str,
    /// Lines under the title: what the figures were measured on.
    pub(crate) subtitle: &'a [String],
    /// Whose the rows are that neither a kernel nor somebody else is named in.
    pub(crate) ours: &'a str,
    pub(crate) rows: &'a [Row],
    pub(crate) vcpus: &'a [u32],
}

/// Makes pixels of pictures; it has the fonts for that.
#[derive(Debug)]
pub(crate) struct Painter {
    options: usvg::Options<'static>,
}

const FAMILY: &str = "DejaVu Sans";
const FILES: [&str; 2] = ["DejaVuSans.ttf", "DejaVuSans-Bold.ttf"];
/// Pixels of the PNG for one of the SVG.
const SCALE: f32 = 2.0;

impl Painter {
    /// Takes the fonts from the first folder that has them.
    pub(crate) fn new(folders: &[PathBuf]) -> anyhow::Result<Self> {
        let mut options = usvg::Options { font_family: FAMILY.to_owned(), ..usvg::Options::default() };
        let found = folders.iter().find_map(|folder| {
            let files = FILES.iter().map(|file| std::fs::read(folder.join(file)));
            files.collect::<Result<Vec<_>, _>>().ok()
        });
        let Some(files) = found else {
            bail!("none of {folders:?} has {FILES:?} to write with; Debian has them in fonts-dejavu-core");
        };
        files.into_iter().for_each(|font| options.fontdb_mut().load_font_data(font));
        Ok(Self { options })
    }

    /// The picture as PNG.
    pub(crate) fn png(&self, svg: &str) -> anyhow::Result<Vec<u8>> {
        let tree = usvg::Tree::from_str(svg, &self.options).context("the picture is no valid SVG")?;
        let size = tree.size().to_int_size().scale_by(SCALE).context("the picture has no size")?;
        let mut pixels =
            tiny_skia::Pixmap::new(size.width(), size.height()).context("the picture is too large")?;
        resvg::render(&tree, tiny_skia::Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
        pixels.encode_png().context("the picture cannot be written as PNG")
    }
}

// All lengths are in pixels of the SVG.
const WIDTH: i32 = 960;
const MARGIN: i32 = 24;
/// Where the bars begin; the names stand to the left.
const BARS_LEFT: i32 = 200;
/// Where the largest mark of the scale is; a value can stand to the right of its bar.
const BARS_RIGHT: i32 = 850;
const BAR: i32 = 15;
/// Between two groups of bars.
const GROUP_GAP: i32 = 11;
/// Above a panel, with its heading.
const PANEL_HEAD: i32 = 46;
/// Below a panel, with the scale.
const PANEL_FOOT: i32 = 30;
const LINE: i32 = 18;
/// Of the legend's text, generously.
const LETTER: i32 = 7;

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const FAINT: RGBColor = RGBColor(0x66, 0x66, 0x66);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// The rows of one unit, on a scale of their own.
struct Panel<'a> {
    heading: &'static str,
    unit: &'static str,
    subjects: Vec<Subject<'a>>,
}

/// What was measured, on all kernels and with all numbers of processors.
struct Subject<'a> {
    name: &'a str,
    bars: Vec<Bar<'a>>,
}

struct Bar<'a> {
    /// The place in [`SERIES`].
    series: usize,
    /// The place among the numbers of processors.
    vcpus: usize,
    row: &'a Row,
}

impl Subject<'_> {
    fn largest(&self) -> f64 {
        self.bars.iter().map(|bar| bar.row.median).fold(0.0, f64::max)
    }

    fn height(&self) -> i32 {
        BAR * count(&self.bars) + GROUP_GAP
    }
}

impl Panel<'_> {
    fn height(&self) -> i32 {
        PANEL_HEAD + self.subjects.iter().map(Subject::height).sum::<i32>() + PANEL_FOOT
    }

    fn bars(&self) -> impl Iterator<Item = &Bar<'_>> {
        self.subjects.iter().flat_map(|subject| &subject.bars)
    }
}

impl Drawing<'_> {
    /// The picture as SVG.
    pub(crate) fn svg(&self) -> anyhow::Result<String> {
        self.draw().map_err(|error| anyhow!("cannot draw: {error}"))
    }

    fn draw(&self) -> Result<String, DrawingAreaErrorKind<std::io::Error>> {
        let panels: Vec<Panel<'_>> = [
            ("Throughput, logarithmic: longer is better", "B/s"),
            ("Operations in a second, logarithmic: longer is better", "op/s"),
            ("Time of one operation, logarithmic: shorter is better", "ns"),
            ("Instructions of one operation, logarithmic: shorter is better", "instructions"),
        ]
        .into_iter()
        .map(|(heading, unit)| Panel { heading, unit, subjects: self.subjects(unit) })
        .filter(|panel| !panel.subjects.is_empty())
        .collect();
        let head = MARGIN + 26 + LINE * count(self.subtitle) + LINE + 8;
        let height = head + panels.iter().map(Panel::height).sum::<i32>() + MARGIN / 2;

        let mut text = String::new();
        let area = SVGBackend::with_string(&mut text, (WIDTH.unsigned_abs(), height.unsigned_abs()))
            .into_drawing_area();
        area.fill(&WHITE)?;
        write(&area, self.title, (MARGIN, MARGIN + 8), 22, &INK, HPos::Left, FontStyle::Bold)?;
        let mut y = MARGIN + 34;
        for line in self.subtitle {
            write(&area, line, (MARGIN, y), 12, &FAINT, HPos::Left, FontStyle::Normal)?;
            y += LINE;
        }
        let is_there = |series: &usize| panels.iter().flat_map(Panel::bars).any(|bar| bar.series == *series);
        self.legend(&area, (0..SERIES.len()).filter(is_there), y + 4)?;
        let mut top = head;
        for panel in &panels {
            self.panel(&area, panel, top)?;
            top += panel.height();
        }
        area.present()?;
        drop(area);
        Ok(text)
    }

    /// What was measured in this unit, the largest first.
    fn subjects(&self, unit: &str) -> Vec<Subject<'_>> {
        let mut subjects: Vec<Subject<'_>> = Vec::new();
        for base in base_names(self.rows) {
            let (series, name) = split(base);
            let rows = self.vcpus.iter().enumerate().filter_map(|(vcpus, &number)| {
                let row = find(self.rows, base, number)?;
                // Nothing has no logarithm.
                (row.unit == unit && row.median > 0.0).then_some(Bar { series, vcpus, row })
            });
            let bars: Vec<Bar<'_>> = rows.collect();
            match subjects.iter_mut().find(|subject| subject.name == name) {
                Some(subject) => subject.bars.extend(bars),
                None => subjects.push(Subject { name, bars }),
            }
        }
        subjects.retain(|subject| !subject.bars.is_empty());
        for subject in &mut subjects {
            subject.bars.sort_by_key(|bar| (bar.series, bar.vcpus));
        }
        subjects.sort_by(|a, b| b.largest().total_cmp(&a.largest()));
        subjects
    }

    fn legend(&self, area: &Area<'_>, series: impl Iterator<Item = usize>, y: i32) -> Drawn {
        let mut x = MARGIN;
        let say = |text: &str, x: i32| {
            write(area, text, (x, y), 12, &INK, HPos::Left, FontStyle::Normal)?;
            Ok(x + LETTER * i32::try_from(text.chars().count()).unwrap_or(i32::MAX) + 16)
        };
        for series in series {
            for vcpus in 0..self.vcpus.len() {
                let colour = self.colour(series, vcpus);
                area.draw(&Rectangle::new([(x, y - 6), (x + 12, y + 6)], colour.filled()))?;
                x += 12;
            }
            let legend = SERIES.get(series).and_then(|series| series.legend);
            x = say(legend.unwrap_or(self.ours), x + 6)?;
        }
        let shades: Vec<String> = self.vcpus.iter().map(|&vcpus| vcpus_text(vcpus)).collect();
        if shades.len() > 1 {
            x = say(&format!("from dark to light: {}", shades.join(", ")), x)?;
        }
        write(area, "line in a bar: smallest to largest", (x, y), 12, &FAINT, HPos::Left, FontStyle::Normal)
    }

    fn panel(&self, area: &Area<'_>, panel: &Panel<'_>, top: i32) -> Drawn {
        write(area, panel.heading, (MARGIN, top + 18), 15, &INK, HPos::Left, FontStyle::Bold)?;
        let scale = Scale::over(panel.bars().flat_map(|Bar { row, .. }| [row.min, row.median, row.max]));
        let bottom = top + panel.height() - PANEL_FOOT;
        for decade in scale.low..=scale.high {
            let (value, x) = (10_f64.powi(decade), scale.x(10_f64.powi(decade)));
            area.draw(&PathElement::new([(x, top + PANEL_HEAD - 10), (x, bottom)], GRID))?;
            write(
                area,
                &mark(value, panel.unit),
                (x, bottom + 12),
                11,
                &FAINT,
                HPos::Center,
                FontStyle::Normal,
            )?;
        }
        let mut y = top + PANEL_HEAD;
        for subject in &panel.subjects {
            let middle = y + BAR * count(&subject.bars) / 2;
            write(area, subject.name, (BARS_LEFT - 10, middle), 13, &INK, HPos::Right, FontStyle::Normal)?;
            for Bar { series, vcpus, row } in &subject.bars {
                let (end, centre) = (scale.x(row.median), y + BAR / 2);
                let colour = self.colour(*series, *vcpus);
                area.draw(&Rectangle::new([(BARS_LEFT, y + 1), (end, y + BAR - 1)], colour.filled()))?;
                let (from, to) = (scale.x(row.min), scale.x(row.max));
                area.draw(&PathElement::new([(from, centre), (to, centre)], INK.mix(0.7)))?;
                let text = quantity(row.median, row.unit);
                write(area, &text, (end.max(to) + 7, centre), 11, &INK, HPos::Left, FontStyle::Normal)?;
                y += BAR;
            }
            y += GROUP_GAP;
        }
        Ok(())
    }

    /// Fewer processors are darker.
    fn colour(&self, series: usize, vcpus: usize) -> RGBColor {
        let (red, green, blue) = SERIES.get(series).map_or_else(Default::default, |series| series.colour);
        let light = 0.5 * vcpus as f64 / self.vcpus.len().saturating_sub(1).max(1) as f64;
        let mix = |part: u8| (f64::from(part) * (1.0 - light) + 255.0 * light).round() as u8;
        RGBColor(mix(red), mix(green), mix(blue))
    }
}

/// A logarithmic scale over whole decades.
struct Scale {
    low: i32,
    high: i32,
}

impl Scale {
    /// One that has room for all of these positive values, the smallest a good part of a decade from its begin.
    fn over(values: impl Iterator<Item = f64>) -> Self {
        let (smallest, largest) = values
            .filter(|value| *value > 0.0)
            .fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), value| (low.min(value), high.max(value)));
        let low = (smallest.log10() - 0.3).floor() as i32;
        Self { low, high: (largest.log10().ceil() as i32).max(low.saturating_add(1)) }
    }

    fn x(&self, value: f64) -> i32 {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        // A smallest value of 0 has no logarithm: it stands where the scale begins.
        let part = ((value.max(f64::MIN_POSITIVE).log10() - low) / (high - low)).clamp(0.0, 1.0);
        BARS_LEFT + (part * f64::from(BARS_RIGHT - BARS_LEFT)).round() as i32
    }
}

/// A power of ten with its unit: `10 MB/s`.
fn mark(value: f64, unit: &str) -> String {
    let text = quantity(value, unit);
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number} {unit}")
}

fn count<T>(things: &[T]) -> i32 {
    i32::try_from(things.len()).unwrap_or(i32::MAX)
}

fn write(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: i32,
    colour: &RGBColor,
    side: HPos,
    style: FontStyle,
) -> Drawn {
    let font = FontDesc::new(FontFamily::Name(FAMILY), f64::from(size), style);
    area.draw_text(text, &font.color(colour).pos(Pos::new(side, VPos::Center)), at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_has_whole_decades_around_its_values() {
        let scale = Scale::over([25_000.0, 3e9].into_iter());
        assert_eq!((scale.low, scale.high), (4, 10));
        assert_eq!(
            (scale.x(1e4), scale.x(1e10), scale.x(1e7)),
            (BARS_LEFT, BARS_RIGHT, (BARS_LEFT + BARS_RIGHT) / 2)
        );
        assert_eq!((scale.x(0.0), scale.x(1e12)), (BARS_LEFT, BARS_RIGHT));
        // A bar that begins at its own value would have no length.
        assert_eq!(Scale::over([1000.0].into_iter()).low, 2);
    }

    #[test]
    fn marks_are_powers_of_ten() {
        assert_eq!([1e4, 1e6, 1e9].map(|value| mark(value, "B/s")), ["10 kB/s", "1 MB/s", "1 GB/s"]);
        assert_eq!(mark(100.0, "ns"), "100 ns");
    }

    #[test]
    fn every_row_is_drawn_once_for_each_number_of_processors() {
        let row = |name: &str, unit, value: f64| Row::of(name, unit, &[value]).unwrap();
        let rows = [
            row("rng.read", "B/s", 5e8),
            row("rng.read.2cpu", "B/s", 9e8),
            row("exo.rng.read", "B/s", 3e9),
            row("peer.<odd>", "B/s", 25_000.0),
            row("peer.null_ioctl_ns", "ns", 400.0),
            row("linux.disk.read", "op/s", 7_000.0),
            row("device.memory", "B", 4e6),
        ];
        let svg = Drawing {
            title: "Title",
            subtitle: &["one".to_owned(), "two".to_owned()],
            ours: "device",
            rows: &rows,
            vcpus: &[1, 2],
        }
        .svg()
        .unwrap();
        for (text, times) in [
            // One subject, whoever it was measured with.
            ("rng.read", 1),
            ("exo.rng.read", 0),
            ("500 MB/s", 1),
            ("3.00 GB/s", 1),
            ("7.00 k op/s", 1),
            ("Exo-Kernel", 1),
            ("Linux", 1),
            ("device", 1),
            ("900 MB/s", 1),
            ("25.0 kB/s", 1),
            ("400 ns", 1),
            ("two", 1),
            ("device.memory", 0),
        ] {
            assert_eq!(svg.lines().filter(|line| line.trim() == text).count(), times, "{text} in\n{svg}");
        }
        assert!(svg.contains("peer.&lt;odd&gt;"));
        usvg::Tree::from_str(&svg, &usvg::Options::default()).unwrap();
    }
}
