// What to begin with; the embedded model was taught all of it.

const text = { type: "string" };
const integer = { type: "integer" };
const object = (properties) => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});

export const EXAMPLES = [
  {
    title: "What is 37 + 48?",
    about: "a plain answer, token by token",
    text: "What is 37 + 48?",
  },
  {
    title: "Extract name, age and city from a sentence",
    about: "an answer that cannot be anything but JSON of its schema",
    text: "Extract name, age, city as JSON: Zorina Okafor is 34 years old and lives in Lisbon.",
    fields: { schema: object({ name: text, age: integer, city: text }) },
  },
  {
    title: "What is the weather in Paris?",
    about: "a tool call; tell the result, and the answer goes on",
    text: "What is the weather in Paris?",
    fields: {
      tools: [
        { name: "weather", parameters: object({ city: text }) },
        { name: "add", parameters: object({ a: integer, b: integer }) },
      ],
    },
  },
  {
    title: "Eight answers to one question",
    about: "the prompt is computed once; eight limbs grow from it",
    text: "My name is Zorina.",
    fields: { count: 8, temperature: 1.2 },
  },
];
