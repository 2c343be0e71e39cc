#include "phalanx/data/recall_words.h"

#include <array>

namespace phalanx {
namespace {

constexpr auto kFirst = std::to_array<std::string_view>(
    {"Alice",   "Andrew",  "Angela",   "Anna",     "Anthony", "Arthur",  "Barbara", "Benjamin", "Betty",
     "Brandon", "Brenda",  "Brian",    "Carl",     "Carol",   "Charles", "Cheryl",  "Clara",    "Craig",
     "Cynthia", "Daniel",  "David",    "Deborah",  "Dennis",  "Diana",   "Donald",  "Dorothy",  "Douglas",
     "Edward",  "Eleanor", "Emily",    "Emma",     "Eric",    "Ethan",   "Eugene",  "Evelyn",   "Frances",
     "Frank",   "Gary",    "George",   "Gerald",   "Gloria",  "Grace",   "Gregory", "Hannah",   "Harold",
     "Heather", "Helen",   "Henry",    "Howard",   "Irene",   "Isabel",  "Jack",    "Jacob",    "James",
     "Janet",   "Jason",   "Jeffrey",  "Jennifer", "Jeremy",  "Jessica", "Joan",    "John",     "Joseph",
     "Joyce",   "Judith",  "Julia",    "Karen",    "Keith",   "Kenneth", "Kevin",   "Larry",    "Laura",
     "Linda",   "Louis",   "Margaret", "Maria",    "Mark",    "Martha",  "Martin",  "Mary",     "Matthew",
     "Melissa", "Michael", "Nancy",    "Nathan",   "Nicole",  "Olivia",  "Oscar",   "Pamela",   "Patrick",
     "Paul",    "Peter",   "Philip",   "Rachel",   "Ralph",   "Rebecca", "Richard", "Robert",   "Roger",
     "Ruth",    "Samuel",  "Sarah",    "Scott",    "Sharon",  "Sophia",  "Stephen", "Susan",    "Teresa",
     "Thomas",  "Victor",  "Virginia", "Walter",   "William", "Zachary"});

constexpr auto kLast = std::to_array<std::string_view>(
    {"Adams",   "Allen",     "Anderson",  "Bailey",   "Baker",    "Barnes",   "Bell",     "Bennett",
     "Bishop",  "Brooks",    "Brown",     "Bryant",   "Burns",    "Butler",   "Campbell", "Carter",
     "Chapman", "Clark",     "Coleman",   "Collins",  "Cook",     "Cooper",   "Cox",      "Crawford",
     "Cruz",    "Davis",     "Dixon",     "Duncan",   "Edwards",  "Ellis",    "Evans",    "Ferguson",
     "Fisher",  "Fletcher",  "Foster",    "Fox",      "Garcia",   "Gibson",   "Gordon",   "Graham",
     "Grant",   "Gray",      "Green",     "Griffin",  "Hall",     "Hamilton", "Harris",   "Harrison",
     "Hayes",   "Henderson", "Hill",      "Holmes",   "Howell",   "Hughes",   "Hunt",     "Jackson",
     "Jenkins", "Johnson",   "Jones",     "Kelly",    "Kennedy",  "King",     "Knight",   "Lawrence",
     "Lee",     "Lewis",     "Long",      "Marshall", "Mason",    "Miller",   "Mitchell", "Moore",
     "Morgan",  "Morris",    "Murphy",    "Murray",   "Nelson",   "Newman",   "Nichols",  "Owens",
     "Palmer",  "Parker",    "Patterson", "Perry",    "Phillips", "Porter",   "Powell",   "Price",
     "Reed",    "Reynolds",  "Rice",      "Roberts",  "Robinson", "Rogers",   "Ross",     "Russell",
     "Sanders", "Scott",     "Shaw",      "Simpson",  "Smith",    "Spencer",  "Stewart",  "Sullivan",
     "Taylor",  "Thompson",  "Tucker",    "Turner",   "Walker",   "Wallace",  "Warren",   "Watson",
     "Webb",    "West",      "Wheeler",   "White",    "Wilson",   "Wood",     "Wright",   "Young"});

constexpr auto kWords = std::to_array<std::string_view>(
    {"acorn",   "actor",   "amber",   "anchor",   "angle",   "apple",    "apron",   "arch",    "arrow",
     "attic",   "badge",   "bagel",   "ball",     "bamboo",  "banana",   "banjo",   "bank",    "barn",
     "basil",   "basket",  "beach",   "bean",     "bear",    "beaver",   "bench",   "berry",   "bird",
     "blanket", "boat",    "bone",    "book",     "boot",    "bottle",   "bowl",    "branch",  "bread",
     "brick",   "bridge",  "broom",   "brush",    "bucket",  "butter",   "button",  "cabin",   "cable",
     "cactus",  "cake",    "camel",   "camera",   "candle",  "canoe",    "canyon",  "carpet",  "carrot",
     "castle",  "cedar",   "cello",   "chain",    "chair",   "chalk",    "cheese",  "cherry",  "chest",
     "circle",  "clay",    "cliff",   "clock",    "cloud",   "clover",   "coast",   "coat",    "coffee",
     "coin",    "comet",   "copper",  "coral",    "cotton",  "crab",     "crane",   "crater",  "cricket",
     "crown",   "crystal", "curtain", "daisy",    "desert",  "desk",     "diamond", "dolphin", "donkey",
     "door",    "dragon",  "drum",    "eagle",    "earth",   "elbow",    "engine",  "falcon",  "farm",
     "feather", "fence",   "fern",    "field",    "finger",  "flag",     "flame",   "flint",   "flower",
     "flute",   "forest",  "fossil",  "fountain", "frog",    "garden",   "garlic",  "gate",    "ginger",
     "glacier", "glass",   "glove",   "goat",     "gold",    "goose",    "grape",   "grass",   "gravel",
     "guitar",  "hammer",  "harbor",  "harp",     "hat",     "hawk",     "hazel",   "helmet",  "heron",
     "hill",    "honey",   "horse",   "house",    "iceberg", "island",   "ivory",   "jacket",  "jar",
     "jasmine", "jelly",   "jewel",   "kettle",   "key",     "kite",     "kitten",  "ladder",  "lake",
     "lamp",    "lantern", "leaf",    "leather",  "lemon",   "lily",     "lion",    "lizard",  "lobster",
     "locket",  "magnet",  "mango",   "maple",    "marble",  "market",   "meadow",  "melon",   "metal",
     "mirror",  "mitten",  "moon",    "moss",     "motor",   "mountain", "mouse",   "needle",  "nest",
     "oak",     "oasis",   "ocean",   "olive",    "onion",   "orange",   "orchid",  "otter",   "oven",
     "owl",     "paddle",  "palace",  "panda",    "paper",   "parrot",   "path",    "pearl",   "pebble",
     "pencil",  "pepper",  "piano",   "pigeon",   "pillow",  "pine",     "planet",  "plum",    "pocket",
     "pond",    "potato",  "prairie", "puppet",   "quartz",  "quilt",    "rabbit",  "radio",   "raven",
     "ribbon",  "river",   "robin",   "rocket",   "rope",    "rose",     "saddle",  "salmon",  "salt",
     "sand",    "satin",   "scarf",   "shell",    "shoe",    "silk",     "silver",  "snail",   "snow",
     "soap",    "spider",  "spoon",   "spruce",   "star",    "stone",    "storm",   "sugar",   "sun",
     "swan",    "table",   "tiger",   "toast",    "tower",   "train",    "tulip",   "turtle",  "valley",
     "velvet",  "violin",  "wagon",   "walnut",   "whale",   "wheat",    "willow",  "window"});

}  // namespace

std::span<const std::string_view> first_names() {
  return kFirst;
}
std::span<const std::string_view> last_names() {
  return kLast;
}
std::span<const std::string_view> common_words() {
  return kWords;
}

}  // namespace phalanx
