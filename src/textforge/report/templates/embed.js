"use strict";
// Of the messages only errors: it would warn of every layer that has nothing to show.
const options = { mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false, tooltip: false, logLevel: 1 };

// Draws the chart of a figure; returns its view, or nothing where it could not be drawn.
async function embed(figure, specification) {
  const drawing = figure.querySelector(".drawing");
  try {
    const { view } = await vegaEmbed(drawing, specification, options);
    return view;
  } catch (error) {
    drawing.textContent = `This chart could not be drawn: ${error.message}`;
  }
}

