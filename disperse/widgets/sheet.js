// A sheet of images, pixel for pixel, that can be clicked or walked through with the arrow keys.
function render({ model, el }) {
  const figure = document.createElement("figure");
  figure.className = "disperse-sheet";
  const title = document.createElement("figcaption");
  const stage = document.createElement("div");
  stage.className = "disperse-stage";
  const picture = document.createElement("img");
  const mark = document.createElement("div");
  mark.className = "disperse-mark";
  stage.append(picture, mark);
  figure.append(title, stage);
  el.append(figure);
  let shown = null, turn = 0;

  async function draw() {
    const mine = ++turn;
    const bytes = model.get("value");
    figure.hidden = !bytes || bytes.byteLength === 0;
    if (figure.hidden) {
      picture.removeAttribute("src"); // or the next picture would come after a glimpse of this one
      return;
    }
    const url = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    const next = new Image();
    next.src = url;
    await next.decode(); // the old picture stays until the new one can be drawn: no flicker
    if (mine !== turn) { // a newer one came while this was decoded
      URL.revokeObjectURL(url);
      return;
    }
    picture.src = url;
    // Smaller than its own pixels it would lose some of them.
    figure.style.minWidth = `${Math.min(next.naturalWidth, 340)}px`;
    if (shown) URL.revokeObjectURL(shown);
    shown = url;
  }

  function describe() {
    title.textContent = model.get("title");
    title.style.color = model.get("color");
    picture.alt = model.get("alt");
    figure.style.width = model.get("width");
    const clickable = model.get("clickable");
    stage.classList.toggle("clickable", clickable);
    if (clickable) stage.tabIndex = 0;
    else stage.removeAttribute("tabindex");
    stage.setAttribute("role", clickable ? "application" : "img");
    stage.setAttribute("aria-label", model.get("alt"));
    const [columns, count, chosen] = ["columns", "count", "selected"].map((name) => model.get(name));
    const rows = Math.max(1, Math.ceil(count / columns));
    mark.hidden = chosen < 0 || chosen >= count;
    mark.style.left = `${(100 * (chosen % columns)) / columns}%`;
    mark.style.top = `${(100 * Math.floor(chosen / columns)) / rows}%`;
    mark.style.width = `${100 / columns}%`;
    mark.style.height = `${100 / rows}%`;
  }

  function choose(index) {
    if (index < 0 || index >= model.get("count")) return;
    model.set("selected", index);
    model.save_changes();
  }

  stage.addEventListener("click", (event) => {
    if (!model.get("clickable")) return;
    const box = picture.getBoundingClientRect();
    const columns = model.get("columns");
    const rows = Math.ceil(model.get("count") / columns);
    const column = Math.min(columns - 1, Math.floor(((event.clientX - box.left) / box.width) * columns));
    const row = Math.min(rows - 1, Math.floor(((event.clientY - box.top) / box.height) * rows));
    choose(row * columns + column);
  });
  stage.addEventListener("keydown", (event) => {
    const columns = model.get("columns");
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (step === undefined || !model.get("clickable")) return;
    event.preventDefault();
    event.stopPropagation();
    choose(Math.max(model.get("selected"), 0) + step);
  });
  model.on("change:value", draw);
  for (const name of ["title", "color", "alt", "width", "columns", "count", "selected", "clickable"]) {
    model.on(`change:${name}`, describe);
  }
  describe();
  draw();
  return () => shown && URL.revokeObjectURL(shown);
}

export default { render };
