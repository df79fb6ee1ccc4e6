"use strict";
const $ = (id) => document.getElementById(id);
let current = null, stream = null, shown = null, asked = 0;

function headers(extra) {
  const key = $("key").value.trim();
  return key ? { ...extra, Authorization: "Bearer " + key } : extra;
}

function fail(message) {
  $("error").textContent = message;
  $("error").hidden = !message;
}

async function reason(response) {
  try { return (await response.json()).error.message; } catch { return "the service answered " + response.status; }
}

async function about() {
  try {
    const response = await fetch("readyz");
    const facts = await response.json();
    if (facts.status !== "ready") {
      $("about").textContent = facts.status === "failed" ? "The network could not be loaded: see the log." : "The network is warming up …";
      if (facts.status !== "failed") setTimeout(about, 700);
      return;
    }
    const names = facts.classes.slice(0, 8).join(", ") + (facts.classes.length > 8 ? ", …" : "");
    $("about").textContent = `${facts.model ?? "A network"} knows ${facts.classes.length} classes: ${names}`;
    $("explain").hidden = facts.form === "onnx";
  } catch { $("about").textContent = "The service does not answer."; }
}

async function predict(blob) {
  const turn = ++asked;
  fail("");
  current = blob;
  $("why").hidden = true;
  $("explain").disabled = false;
  $("drop").setAttribute("aria-busy", "true");
  try {
    const response = await fetch("predict", { method: "POST", body: blob, headers: headers({ "Content-Type": blob.type.startsWith("image/") ? blob.type : "application/octet-stream" }) });
    if (turn !== asked) return;
    if (!response.ok) { $("result").hidden = true; fail(await reason(response)); return; }
    show(blob, (await response.json()).predictions[0]);
  } catch { if (turn === asked) { $("result").hidden = true; fail("The service does not answer."); } }
  finally { $("drop").removeAttribute("aria-busy"); }
}

function show(blob, answer) {
  if (shown) URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(blob);
  $("picture").onload = () => $("picture").classList.toggle("small", $("picture").naturalWidth < 128);
  $("picture").src = shown;
  $("label").textContent = answer.label;
  $("top").replaceChildren(...answer.top.map((one) => {
    const row = document.createElement("li"), name = document.createElement("span"), share = document.createElement("span"), bar = document.createElement("progress");
    name.textContent = one.label;
    share.textContent = (100 * one.probability).toFixed(1) + " %";
    bar.max = 1;
    bar.value = one.probability;
    bar.setAttribute("aria-label", one.label);
    row.append(name, share, bar);
    return row;
  }));
  $("result").hidden = false;
}

async function explain() {
  const turn = asked;
  $("explain").disabled = true;
  try {
    const response = await fetch("explain", { method: "POST", body: current, headers: headers({ "Content-Type": "application/octet-stream" }) });
    if (turn !== asked) return;
    if (!response.ok) { fail(await reason(response)); return; }
    $("heat").src = URL.createObjectURL(await response.blob());
    $("heat").onload = () => URL.revokeObjectURL($("heat").src);
    $("caption").textContent = `Red: what spoke for ${$("label").textContent} (Grad-CAM), on the picture as the network sees it`;
    $("why").hidden = false;
  } catch { fail("The service does not answer."); }
}

async function openCamera() {
  fail("");
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    $("video").srcObject = stream;
    $("live").hidden = false;
    $("shoot").focus();
  } catch { fail("There is no camera that this page may use (a camera needs https, or a page on localhost)."); }
}

function closeCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $("live").hidden = true;
  $("camera").focus();
}

function shoot() {
  const video = $("video"), canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => { closeCamera(); if (blob) predict(blob); }, "image/jpeg", 0.92);
}

$("choose").onclick = () => $("file").click();
$("file").onchange = () => { if ($("file").files[0]) predict($("file").files[0]); $("file").value = ""; };
$("camera").onclick = openCamera;
$("shoot").onclick = shoot;
$("stop").onclick = closeCamera;
$("explain").onclick = explain;
for (const kind of ["dragover", "dragenter"]) document.addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const file = event.dataTransfer.files[0];
  if (file) predict(file); else fail("That was no file. Save the picture first, then drop the file.");
});
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (file) predict(file);
});
about();
