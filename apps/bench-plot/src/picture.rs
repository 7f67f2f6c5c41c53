// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rows as a picture: bars side by side on a logarithmic scale, as SVG and as PNG.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use bench_report::{Row, base_names, find, quantity, vcpus_text};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use resvg::{tiny_skia, usvg};

/// What is drawn.
#[derive(Debug)]
pub(crate) struct Drawing<'a> {
    pub(crate) title: &'a str,
    /// Lines under the title: what the figures were measured on.
    pub(crate) subtitle: &'a [String],
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

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const FAINT: RGBColor = RGBColor(0x66, 0x66, 0x66);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const OURS: RGBColor = RGBColor(0x1b, 0x5e, 0xa8);
const PEERS: RGBColor = RGBColor(0xc2, 0x6a, 0x12);

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// The rows of one unit, on a scale of their own.
struct Panel<'a> {
    heading: &'static str,
    unit: &'static str,
    names: Vec<&'a str>,
}

impl Drawing<'_> {
    /// The picture as SVG.
    pub(crate) fn svg(&self) -> anyhow::Result<String> {
        self.draw().map_err(|error| anyhow!("cannot draw: {error}"))
    }

    fn draw(&self) -> Result<String, DrawingAreaErrorKind<std::io::Error>> {
        let panels: Vec<Panel<'_>> = [
            ("Throughput, logarithmic: longer is better", "B/s"),
            ("Time of one call, logarithmic: shorter is better", "ns"),
        ]
        .into_iter()
        .map(|(heading, unit)| Panel { heading, unit, names: self.names(unit) })
        .filter(|panel| !panel.names.is_empty())
        .collect();
        let head = MARGIN + 26 + LINE * count(self.subtitle) + LINE + 8;
        let height = head + panels.iter().map(|panel| self.height(panel)).sum::<i32>() + MARGIN / 2;

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
        self.legend(&area, y + 4)?;
        let mut top = head;
        for panel in &panels {
            self.panel(&area, panel, top)?;
            top += self.height(panel);
        }
        area.present()?;
        drop(area);
        Ok(text)
    }

    /// The names of the rows with this unit, the largest first.
    fn names(&self, unit: &str) -> Vec<&str> {
        let largest = |name: &str| {
            let medians =
                self.vcpus.iter().filter_map(|&vcpus| find(self.rows, name, vcpus)).map(|row| row.median);
            medians.fold(0.0, f64::max)
        };
        let mut names: Vec<&str> = base_names(self.rows)
            .into_iter()
            .filter(|name| {
                self.vcpus
                    .iter()
                    .any(|&vcpus| find(self.rows, name, vcpus).is_some_and(|row| row.unit == unit))
            })
            .filter(|name| largest(name) > 0.0)
            .collect();
        names.sort_by(|a, b| largest(b).total_cmp(&largest(a)));
        names
    }

    /// The bars of one name: how many processors, which row.
    fn bars(&self, name: &str) -> Vec<(usize, &Row)> {
        let each = self.vcpus.iter().enumerate();
        each.filter_map(|(index, &vcpus)| Some((index, find(self.rows, name, vcpus)?)))
            .filter(|(_, row)| row.median > 0.0)
            .collect()
    }

    fn height(&self, panel: &Panel<'_>) -> i32 {
        let groups = panel.names.iter().map(|name| BAR * count(&self.bars(name)) + GROUP_GAP);
        PANEL_HEAD + groups.sum::<i32>() + PANEL_FOOT
    }

    fn legend(&self, area: &Area<'_>, y: i32) -> Drawn {
        let mut x = MARGIN;
        for (whose, ours) in [("my_rng", true), ("peers", false)] {
            for (index, &vcpus) in self.vcpus.iter().enumerate() {
                area.draw(&Rectangle::new([(x, y - 6), (x + 12, y + 6)], self.colour(ours, index).filled()))?;
                let text = format!("{whose}, {}", vcpus_text(vcpus));
                write(area, &text, (x + 18, y), 12, &INK, HPos::Left, FontStyle::Normal)?;
                x += 140;
            }
        }
        write(area, "line in a bar: smallest to largest", (x, y), 12, &FAINT, HPos::Left, FontStyle::Normal)
    }

    fn panel(&self, area: &Area<'_>, panel: &Panel<'_>, top: i32) -> Drawn {
        write(area, panel.heading, (MARGIN, top + 18), 15, &INK, HPos::Left, FontStyle::Bold)?;
        let rows = || panel.names.iter().flat_map(|name| self.bars(name)).map(|(_, row)| row);
        let scale = Scale::over(rows().flat_map(|row| [row.min, row.median, row.max]));
        let bottom = top + self.height(panel) - PANEL_FOOT;
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
        for name in &panel.names {
            let bars = self.bars(name);
            let middle = y + BAR * count(&bars) / 2;
            write(area, name, (BARS_LEFT - 10, middle), 13, &INK, HPos::Right, FontStyle::Normal)?;
            for (index, row) in bars {
                let (end, centre) = (scale.x(row.median), y + BAR / 2);
                let colour = self.colour(!name.starts_with("peer."), index);
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
    fn colour(&self, ours: bool, index: usize) -> RGBColor {
        let RGBColor(red, green, blue) = if ours { OURS } else { PEERS };
        let light = 0.5 * index as f64 / self.vcpus.len().saturating_sub(1).max(1) as f64;
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
            row("peer.<odd>", "B/s", 25_000.0),
            row("peer.null_ioctl_ns", "ns", 400.0),
            row("device.memory", "B", 4e6),
        ];
        let svg = Drawing {
            title: "Title",
            subtitle: &["one".to_owned(), "two".to_owned()],
            rows: &rows,
            vcpus: &[1, 2],
        }
        .svg()
        .unwrap();
        for (text, times) in [
            ("rng.read", 1),
            ("500 MB/s", 1),
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
