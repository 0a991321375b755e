//! A bar for each store, best first, mapstone in another colour; those of floors are outlines.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{OWN, Table, human};
use crate::peer::is_floor;
use crate::row::Unit;

const WIDTH: i32 = 860;
const TOP: i32 = 58;
const STEP: i32 = 30;
const BAR: i32 = 20;
const LEFT: i32 = 200;
/// Room for the figure behind the longest bar.
const RIGHT: i32 = 190;
const OWN_COLOUR: RGBColor = RGBColor(0xC2, 0x41, 0x0C);
const OTHER_COLOUR: RGBColor = RGBColor(0x94, 0xA3, 0xB8);
const INK: RGBColor = RGBColor(0x1E, 0x29, 0x3B);

pub fn bars(table: &Table, path: &Path) -> Result<()> {
    draw(table, path).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn draw(table: &Table, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let height = TOP + STEP * i32::try_from(table.lines.len())? + 12;
    let area = SVGBackend::new(path, (WIDTH.try_into()?, height.try_into()?)).into_drawing_area();
    area.fill(&WHITE)?;
    let text = |size: i32, horizontal| {
        ("sans-serif", size).into_font().color(&INK).pos(Pos::new(horizontal, VPos::Center))
    };
    let better = match table.unit {
        Unit::Rate => "operations a second: more is better",
        Unit::Time => "time: less is better",
        Unit::Bytes => "bytes: less is better",
        Unit::Latency => "median time of a commit: less is better",
    };
    area.draw(&Text::new(table.work.clone(), (12, 20), text(20, HPos::Left)))?;
    area.draw(&Text::new(better, (12, 42), text(13, HPos::Left)))?;

    let most = table.lines.iter().map(|line| line.median).fold(f64::MIN_POSITIVE, f64::max);
    for (place, line) in (0..).zip(&table.lines) {
        let y = TOP + STEP * place;
        let middle = y + BAR / 2;
        let length = (line.median / most * f64::from(WIDTH - LEFT - RIGHT)).round().max(1.0) as i32;
        let colour = if line.peer.starts_with(OWN) { OWN_COLOUR } else { OTHER_COLOUR };
        let style = if is_floor(&line.peer) { colour.stroke_width(1) } else { colour.filled() };
        area.draw(&Rectangle::new([(LEFT, y), (LEFT + length, y + BAR)], style))?;
        area.draw(&Text::new(line.peer.clone(), (LEFT - 10, middle), text(15, HPos::Right)))?;
        let survives =
            if line.survives.is_empty() { String::new() } else { format!("  ({})", line.survives) };
        let figure = format!("{}{survives}", human(line.median, table.unit));
        area.draw(&Text::new(figure, (LEFT + length + 8, middle), text(14, HPos::Left)))?;
    }
    area.present()?;
    Ok(())
}
