// Points in several planes that stand for the same images: hover to see one, draw around some to see them all.
function render({ model, el }) {
  const scene = model.get("scene");
  const root = document.createElement("div");
  root.className = "disperse-points";
  const planes = document.createElement("div");
  planes.className = "disperse-planes";
  const note = document.createElement("p");
  note.setAttribute("role", "status");
  const strip = document.createElement("div");
  strip.className = "disperse-strip";
  const tip = document.createElement("canvas");
  tip.className = "disperse-tip";
  tip.hidden = true;
  const legend = document.createElement("div");
  legend.className = "disperse-legend";
  legend.append("class", ...Object.entries(scene.palette).map(([label, color]) => {
    const entry = document.createElement("span");
    entry.textContent = label;
    entry.style.setProperty("--color", color);
    return entry;
  }));
  root.append(legend, planes, note, strip, tip);
  el.append(root);

  const sprite = new Image();
  const [cell, columns] = [scene.cell, scene.columns];
  const drawImage = (canvas, index, size) => {
    canvas.width = canvas.height = size;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    const [x, y] = [(index % columns) * (cell + 1), Math.floor(index / columns) * (cell + 1)];
    context.drawImage(sprite, x, y, cell, cell, 0, 0, size, size);
  };
  const SIZE = 300, EDGE = 10, MOST = 60;
  let hovered = -1, lasso = null;
  const views = scene.planes.map((plane) => {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = plane.title;
    caption.style.color = plane.color;
    const canvas = document.createElement("canvas");
    const scale = window.devicePixelRatio || 1;
    canvas.width = canvas.height = SIZE * scale;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", plane.title);
    figure.append(caption, canvas);
    planes.append(figure);
    const [low, high] = [plane.low, plane.high];
    const places = plane.points.map((p) => [
      EDGE + ((p[0] - low[0]) / (high[0] - low[0] || 1)) * (SIZE - 2 * EDGE),
      SIZE - EDGE - ((p[1] - low[1]) / (high[1] - low[1] || 1)) * (SIZE - 2 * EDGE),
    ]);
    const view = { canvas, places, scale };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") { // a finger taps, and scrolls; only mouse and pen draw
        hover(view, at(view, event), event);
        return;
      }
      lasso = { view, path: [at(view, event)] };
      canvas.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch") return;
      const place = at(view, event);
      if (lasso && lasso.view === view) {
        lasso.path.push(place);
        views.forEach(paint);
      } else {
        hover(view, place, event);
      }
    });
    canvas.addEventListener("pointerup", () => {
      if (!lasso) return;
      const path = lasso.path;
      lasso = null;
      choose(path.length < 3 ? [] : places.flatMap((place, i) => (inside(place, path) ? [i] : [])));
    });
    canvas.addEventListener("pointercancel", () => { lasso = null; views.forEach(paint); });
    canvas.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "touch") return; // the image of a tap stays until the next
      point(-1);
      tip.hidden = true;
    });
    return view;
  });

  function at(view, event) {
    const box = view.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIZE, ((event.clientY - box.top) / box.height) * SIZE];
  }

  function inside([x, y], path) { // even-odd rule
    let odd = false;
    for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
      const [[xi, yi], [xj, yj]] = [path[i], path[j]];
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
    }
    return odd;
  }

  function hover(view, [x, y], event) {
    let best = -1, nearest = 12 ** 2;
    view.places.forEach(([px, py], i) => {
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < nearest) [best, nearest] = [i, distance];
    });
    point(best);
    tip.hidden = best < 0;
    const box = root.getBoundingClientRect();
    tip.style.left = `${event.clientX - box.left + 14}px`;
    tip.style.top = `${event.clientY - box.top + 14}px`;
  }

  function point(index) {
    if (index === hovered) return;
    hovered = index;
    if (index >= 0) drawImage(tip, index, 72);
    model.set("hovered", index);
    model.save_changes();
    views.forEach(paint);
  }

  function choose(indices) {
    model.set("selected", indices);
    model.save_changes();
    show();
  }

  function show() {
    const chosen = model.get("selected");
    strip.replaceChildren(...chosen.slice(0, MOST).map((index) => {
      const image = document.createElement("canvas");
      image.title = `image ${index}, class ${scene.labels[index]}`;
      drawImage(image, index, 40);
      return image;
    }));
    const counts = {};
    chosen.forEach((index) => { counts[scene.labels[index]] = (counts[scene.labels[index]] || 0) + 1; });
    const classes = Object.entries(counts).map(([label, count]) => `${count} of class ${label}`).join(", ");
    const more = chosen.length > MOST ? ` (the first ${MOST} are shown)` : "";
    note.textContent = chosen.length
      ? `${chosen.length} images${more}: ${classes}`
      : "Hover over a point, or tap it, to see its image, marked in every plane; draw around some points to see them all.";
    views.forEach(paint);
  }

  function paint(view) {
    const context = view.canvas.getContext("2d");
    context.setTransform(view.scale, 0, 0, view.scale, 0, 0);
    context.clearRect(0, 0, SIZE, SIZE);
    const chosen = new Set(model.get("selected"));
    view.places.forEach(([x, y], i) => {
      context.globalAlpha = chosen.size && !chosen.has(i) ? 0.15 : 0.75;
      context.fillStyle = scene.palette[scene.labels[i]];
      context.beginPath();
      context.arc(x, y, 3, 0, 7);
      context.fill();
    });
    context.globalAlpha = 1;
    if (hovered >= 0) {
      const [x, y] = view.places[hovered];
      context.strokeStyle = "#000";
      context.lineWidth = 2;
      context.beginPath();
      context.arc(x, y, 7, 0, 7);
      context.stroke();
    }
    if (lasso && lasso.view === view) {
      context.strokeStyle = "#d55e00";
      context.lineWidth = 1.5;
      context.beginPath();
      lasso.path.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.stroke();
    }
  }

  sprite.onload = show;
  sprite.src = scene.sprite;
  model.on("change:selected", show);
}

export default { render };
