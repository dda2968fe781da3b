// The job with promptfoo: a provider that buys the picture of a test case.
import fs from "node:fs/promises";
import path from "node:path";

export default class Buy {
  constructor(options) {
    this.config = options.config;
  }

  id() {
    return "buy";
  }

  async callApi(prompt, context) {
    const source = context.vars.picture;
    const encoded = (await fs.readFile(source)).toString("base64");
    const response = await fetch(`${this.config.url}/images/generations`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${this.config.key}` },
      body: JSON.stringify({
        model: "stability-upscale-creative",
        prompt,
        output_format: "png",
        input_images: [{ type: "image_url", image_url: { url: `data:image/png;base64,${encoded}` } }],
      }),
    });
    const answer = await response.json();
    await fs.writeFile(path.join(this.config.out, path.basename(source)), Buffer.from(answer.data[0].b64_json, "base64"));
    return { output: "bought", cost: Number(answer.usage.billed_amount) };
  }
}
