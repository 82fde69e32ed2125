//! Draws lines and points over two axes as SVG: text out, nothing measured, so that the same figures give the same bytes.
//! By hand, because a library would bring its own ticks; these are of hours and days, and labels that make room.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
/// Room for the axes, the title and the legend.
const LEFT: f64 = 72.0;
const RIGHT: f64 = 216.0;
const TOP: f64 = 58.0;
const BOTTOM: f64 = 78.0;
/// Characters of a legend's line; a longer name goes on in the next.
const LEGEND_CHARS: usize = 26;
/// Mean width of a character over the size of its letters, of a sans-serif.
const CHAR_WIDTH: f64 = 0.55;
/// Told apart also by the colour-blind (Okabe & Ito 2008).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#555555", "#000000"];

/// A plot.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// Where the data are from, and of whom.
    pub(crate) source: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

/// A direction of a plot.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    /// With its unit.
    label: String,
    low: f64,
    high: f64,
    scale: Scale,
    ticks: Vec<(f64, String)>,
}

/// How values lie on an axis.
#[derive(Debug, Clone, Copy)]
enum Scale {
    Linear,
    Log,
    /// The logarithm of one more, for what begins at 0.
    LogFromZero,
}

impl Scale {
    fn of(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.ln(),
            Self::LogFromZero => value.ln_1p(),
        }
    }

    fn back(self, place: f64) -> f64 {
        match self {
            Self::Linear => place,
            Self::Log => place.exp(),
            Self::LogFromZero => place.exp_m1(),
        }
    }
}

/// Lines or points of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) colour: usize,
    pub(crate) mark: Mark,
    pub(crate) points: Vec<(f64, f64)>,
}

/// How a series is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    Line,
    Dashes,
    Points,
    /// A line through its points.
    LineAndPoints,
    /// Points, each with its name.
    Named(Vec<String>),
}

impl Series {
    pub(crate) fn new(
        name: impl Into<String>,
        colour: usize,
        mark: Mark,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        Self { name: name.into(), colour, mark, points: points.into_iter().collect() }
    }
}

impl Axis {
    /// Round steps over all of `values`; from 0 where they are not far from it.
    pub(crate) fn linear(label: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = bounds(values);
        let low = if low >= 0.0 && low < 0.6 * high { 0.0 } else { low };
        let room = (high - low).max(1e-9) * 0.04;
        let high = high + room;
        let low = if low == 0.0 { 0.0 } else { low - room };
        let step = round_step((high - low) / 6.0);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let first = (low / step).ceil() as i64;
        let last = (high / step).floor() as i64;
        let ticks = (first..=last).map(|at| (at as f64 * step, format!("{:.decimals$}", at as f64 * step)));
        Self { label: label.into(), low, high, scale: Scale::Linear, ticks: ticks.collect() }
    }

    /// Powers of ten over all of `values`, which are above 0.
    pub(crate) fn log(label: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = bounds(values);
        let (low, high) = (low / 1.3, high * 1.3);
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let few = high / low < 300.0;
        let parts: &[f64] = if few { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let ticks = decades.flat_map(|decade| parts.iter().map(move |part| part * 10f64.powi(decade)));
        let ticks = ticks.filter(|at| (low..=high).contains(at)).map(|at| (at, plain(at)));
        Self { label: label.into(), low, high, scale: Scale::Log, ticks: ticks.collect() }
    }

    /// From seconds to years, logarithmically; `values` are hours, above 0.
    pub(crate) fn hours(label: &str, values: impl IntoIterator<Item = f64>) -> Self {
        const TICKS: [(f64, &str); 14] = [
            (1.0 / 3600.0, "1 s"),
            (10.0 / 3600.0, "10 s"),
            (1.0 / 60.0, "1 min"),
            (5.0 / 60.0, "5 min"),
            (1.0 / 3.0, "20 min"),
            (1.0, "1 h"),
            (3.0, "3 h"),
            (9.0, "9 h"),
            (24.0, "1 d"),
            (72.0, "3 d"),
            (168.0, "1 wk"),
            (744.0, "31 d"),
            (2160.0, "90 d"),
            (8766.0, "1 yr"),
        ];
        let (low, high) = bounds(values);
        let (low, high) = (low / 1.5, high * 1.5);
        let ticks = TICKS.iter().filter(|(at, _)| (low..=high).contains(at));
        let ticks = ticks.map(|(at, name)| (*at, (*name).to_owned())).collect();
        Self { label: label.into(), low, high, scale: Scale::Log, ticks }
    }

    /// Whole numbers from `first` to `last`, each with its tick.
    pub(crate) fn counts(label: &str, first: i32, last: i32) -> Self {
        let ticks = (first..=last).map(|at| (f64::from(at), at.to_string())).collect();
        let (low, high) = (f64::from(first) - 0.3, f64::from(last) + 0.3);
        Self { label: label.into(), low, high, scale: Scale::Linear, ticks }
    }

    /// Days from 0 on, a day and more logarithmically, with a tick at each of `values`.
    pub(crate) fn days(label: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let high = values.last().copied().unwrap_or(1.0).max(1.0) * 1.1;
        let axis = Self { label: label.into(), low: 0.0, high, scale: Scale::LogFromZero, ticks: vec![] };
        let mut ticks: Vec<(f64, String)> = Vec::new();
        for days in values {
            // Where there is no room for both names, the first stands.
            if ticks.last().is_none_or(|(before, _)| axis.share(days) - axis.share(*before) > 0.04) {
                ticks.push((days, plain(days)));
            }
        }
        Self { ticks, ..axis }
    }

    /// Where `value` lies, 0 at the low end and 1 at the high one.
    fn share(&self, value: f64) -> f64 {
        let [value, low, high] = [value, self.low, self.high].map(|value| self.scale.of(value));
        (value - low) / (high - low)
    }

    /// So many values over the axis, evenly as it is drawn: for a smooth curve.
    pub(crate) fn steps(&self, count: usize) -> Vec<f64> {
        let [low, high] = [self.low, self.high].map(|value| self.scale.of(value));
        let share = |at: usize| at as f64 / (count - 1) as f64;
        (0..count).map(|at| self.scale.back(low + (high - low) * share(at))).collect()
    }
}

fn bounds(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let fold = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
    let (low, high) = values.into_iter().filter(|v| v.is_finite()).fold((f64::MAX, f64::MIN), fold);
    if low > high { (0.0, 1.0) } else { (low, high) }
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: f64) -> f64 {
    let decade = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|part| part * decade).find(|step| *step >= least).unwrap_or(10.0 * decade)
}

/// A number as short as it can be.
fn plain(number: f64) -> String {
    if number == 0.0 || (1e-3..1e5).contains(&number) {
        let text = format!("{number:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{number:.0e}")
    }
}

/// `text` as it may stand in XML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A rectangle that is taken: left, top, right, bottom.
type Taken = [f64; 4];

impl Chart {
    /// The picture, complete with its namespace.
    pub(crate) fn svg(&self) -> String {
        let mut out = String::new();
        let mut put = |text: std::fmt::Arguments<'_>| {
            out.write_fmt(text).expect("a string takes all");
            out.push('\n');
        };
        put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#222\" role=\"img\">"
        ));
        put(format_args!("<title>{}</title>", escaped(&self.title)));
        put(format_args!("<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>"));
        put(format_args!(
            "<text x=\"{LEFT}\" y=\"24\" font-size=\"16\" font-weight=\"bold\">{}</text>",
            escaped(&self.title)
        ));
        put(format_args!(
            "<text x=\"{LEFT}\" y=\"43\" font-size=\"11\" fill=\"#666\">{}</text>",
            escaped(&self.source)
        ));
        out += &self.axes();
        out += &self.marks();
        out += &self.legend();
        out += "</svg>\n";
        out
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let width = WIDTH - LEFT - RIGHT;
        let height = HEIGHT - TOP - BOTTOM;
        (LEFT + width * self.x.share(x), TOP + height * (1.0 - self.y.share(y)))
    }

    fn axes(&self) -> String {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut out = String::new();
        for (value, name) in &self.x.ticks {
            let x = LEFT + (right - LEFT) * self.x.share(*value);
            out += &format!(
                "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#e4e4e4\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                bottom + 18.0,
                escaped(name)
            );
        }
        for (value, name) in &self.y.ticks {
            let y = bottom - (bottom - TOP) * self.y.share(*value);
            out += &format!(
                "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#e4e4e4\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                LEFT - 8.0,
                y + 4.0,
                escaped(name)
            );
        }
        out += &format!(
            "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#222\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"13\">{}</text>\n",
            f64::midpoint(LEFT, right),
            bottom + 44.0,
            escaped(&self.x.label)
        );
        let middle = f64::midpoint(TOP, bottom);
        out += &format!(
            "<text transform=\"translate(20 {middle:.1}) rotate(-90)\" text-anchor=\"middle\" font-size=\"13\">{}</text>\n",
            escaped(&self.y.label)
        );
        out
    }

    fn marks(&self) -> String {
        let mut out = String::new();
        let mut taken: Vec<Taken> = Vec::new();
        for series in &self.series {
            if !matches!(series.mark, Mark::Line | Mark::Dashes) {
                taken.extend(series.points.iter().map(|point| {
                    let (x, y) = self.place(*point);
                    [x - 4.0, y - 4.0, x + 4.0, y + 4.0]
                }));
            }
        }
        for series in &self.series {
            let colour = COLOURS[series.colour % COLOURS.len()];
            if !matches!(series.mark, Mark::Points | Mark::Named(_)) {
                out += &self.line(series, colour);
            }
            if !matches!(series.mark, Mark::Line | Mark::Dashes) {
                for point in &series.points {
                    let (x, y) = self.place(*point);
                    out += &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>\n");
                }
            }
            if let Mark::Named(names) = &series.mark {
                for (point, name) in series.points.iter().zip(names) {
                    out += &self.name(*point, name, &mut taken);
                }
            }
        }
        out
    }

    fn line(&self, series: &Series, colour: &str) -> String {
        let dashes = if series.mark == Mark::Dashes { " stroke-dasharray=\"6 4\"" } else { "" };
        let inside = |(_, y): &(f64, f64)| (-0.001..=1.001).contains(&self.y.share(*y));
        // Where a curve leaves the plot it is cut, rather than drawn over the title.
        series
            .points
            .split(|point| !inside(point))
            .filter(|part| part.len() > 1)
            .map(|part| {
                let path: Vec<String> = part
                    .iter()
                    .map(|point| {
                        let (x, y) = self.place(*point);
                        format!("{x:.1} {y:.1}")
                    })
                    .collect();
                format!(
                    "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>\n",
                    path.join("L")
                )
            })
            .collect()
    }

    /// A name beside its point, where there is room; the last place tried stands where there is none.
    fn name(&self, point: (f64, f64), name: &str, taken: &mut Vec<Taken>) -> String {
        let (x, y) = self.place(point);
        let width = name.chars().count() as f64 * 11.0 * CHAR_WIDTH;
        let places = [(7.0, 4.0), (-7.0 - width, 4.0), (-width / 2.0, -8.0), (-width / 2.0, 16.0)];
        let far = [(7.0, -8.0), (7.0, 16.0), (-7.0 - width, -8.0), (-7.0 - width, 16.0)];
        let rectangle =
            |(dx, dy): (f64, f64)| [x + dx - 1.0, y + dy - 10.0, x + dx + width + 1.0, y + dy + 2.0];
        let is_free = |place: &(f64, f64)| {
            let own = rectangle(*place);
            let inside = own[0] > LEFT && own[2] < WIDTH - RIGHT + 40.0 && own[1] > TOP - 8.0;
            inside
                && taken.iter().all(|other| {
                    own[2] <= other[0] || other[2] <= own[0] || own[3] <= other[1] || other[3] <= own[1]
                })
        };
        let place = places.into_iter().chain(far).find(is_free).unwrap_or(places[0]);
        taken.push(rectangle(place));
        format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\" fill=\"#333\">{}</text>\n",
            x + place.0,
            y + place.1,
            escaped(name)
        )
    }

    fn legend(&self) -> String {
        let x = WIDTH - RIGHT + 16.0;
        let (mut y, mut out) = (TOP + 10.0, String::new());
        for series in self.series.iter().filter(|series| !series.name.is_empty()) {
            let colour = COLOURS[series.colour % COLOURS.len()];
            let dashes = if series.mark == Mark::Dashes { " stroke-dasharray=\"6 4\"" } else { "" };
            if !matches!(series.mark, Mark::Points | Mark::Named(_)) {
                out +=
                    &format!("<path d=\"M{x} {y:.1}h22\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>\n");
            }
            if !matches!(series.mark, Mark::Line | Mark::Dashes) {
                out += &format!("<circle cx=\"{}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>\n", x + 11.0);
            }
            for line in wrapped(&series.name, LEGEND_CHARS) {
                out += &format!("<text x=\"{}\" y=\"{:.1}\">{}</text>\n", x + 28.0, y + 4.0, escaped(&line));
                y += 15.0;
            }
            y += 7.0;
        }
        out
    }
}

/// `text` in lines of at most `chars` characters, broken between words.
fn wrapped(text: &str, chars: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= chars => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(x: Axis, y: Axis, series: Vec<Series>) -> String {
        Chart { title: "a < b".into(), source: "Smith & Jones".into(), x, y, series }.svg()
    }

    #[test]
    fn axes_have_round_ticks() {
        let names = |axis: Axis| axis.ticks.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(" ");
        assert_eq!(names(Axis::linear("", [0.02, 0.97])), "0.0 0.2 0.4 0.6 0.8 1.0");
        assert_eq!(names(Axis::linear("", [1.1, 1.47])), "1.1 1.2 1.3 1.4");
        assert_eq!(names(Axis::linear("", [-1.0, 1.0])), "-1.0 -0.5 0.0 0.5 1.0");
        assert_eq!(names(Axis::log("", [0.001, 100.0])), "0.001 0.01 0.1 1 10 100");
        assert_eq!(names(Axis::log("", [1.0, 30.0])), "1 2 5 10 20");
        assert_eq!(names(Axis::hours("", [1.0, 744.0])), "1 h 3 h 9 h 1 d 3 d 1 wk 31 d");
        assert_eq!(names(Axis::days("", [14.0, 0.0, 1.0, 0.5, 0.01])), "0 0.5 1 14");
        assert_eq!(names(Axis::counts("", -1, 2)), "-1 0 1 2");
        assert_eq!(names(Axis::linear("", [])), "0.0 0.2 0.4 0.6 0.8 1.0");
    }

    #[test]
    fn names_make_room_for_each_other() {
        let points = [(1.0, 1.0), (1.0, 1.02), (3.0, 2.0)];
        let named = Mark::Named(["first", "second", "third"].map(str::to_owned).to_vec());
        let svg = chart(
            Axis::linear("x (s)", [0.0, 4.0]),
            Axis::linear("y", [0.0, 3.0]),
            vec![Series::new("words", 0, named, points)],
        );
        let x_of = |name: &str| {
            let line = svg.lines().find(|line| line.ends_with(&format!(">{name}</text>"))).unwrap();
            line.split('"').nth(1).unwrap().to_owned()
        };
        assert!(x_of("first") != x_of("second"), "{svg}");
        assert!(svg.contains("a &lt; b") && svg.contains("Smith &amp; Jones"), "{svg}");
    }

    #[test]
    fn curves_are_cut_where_they_leave_the_plot() {
        let points = [(1.0, 0.5), (2.0, 0.6), (3.0, -9.0), (4.0, 0.4), (5.0, 0.5)];
        let svg = chart(
            Axis::linear("x", [0.0, 5.0]),
            Axis::linear("y", [0.0, 1.0]),
            vec![Series::new("", 1, Mark::Line, points)],
        );
        assert_eq!(svg.matches("stroke=\"#d55e00\"").count(), 2, "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn long_names_are_wrapped() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
    }
}
